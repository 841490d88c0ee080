package cluster

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
)

func TestCgroupsOfEitherVersionAreFound(t *testing.T) {
	for name, check := range map[string]struct {
		mounts string
		want   cgroups
	}{
		"version 2": {
			"cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n",
			cgroups{roots: []string{"/sys/fs/cgroup"}, tracker: "/sys/fs/cgroup", unified: true},
		},
		"version 1 beside an unused version 2": {
			"cgroup /c/cpu cgroup rw,cpu 0 0\ncgroup /c/freezer cgroup rw,freezer 0 0\ncgroup2 /c/unified cgroup2 rw 0 0\n",
			cgroups{roots: []string{"/c/cpu", "/c/freezer", "/c/unified"}, tracker: "/c/freezer"},
		},
	} {
		got, err := parseCgroups(check.mounts)
		if err != nil || !reflect.DeepEqual(got, check.want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := parseCgroups("tmpfs /tmp tmpfs rw 0 0\n"); err == nil {
		t.Error("a machine without cgroups is accepted")
	}
}

func TestMountsAreListedInOrderAndWithBlanks(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mountinfo")
	text := "1 0 0:1 / / rw - ext4 x rw\n2 1 0:2 / /d/a\\040b rw - tmpfs x rw\n3 2 0:3 / /d/a\\040b/c rw - tmpfs x rw\n4 1 0:4 / /dd rw - tmpfs x rw\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := mountsBelow(file, "/d")
	if want := []string{"/d/a b", "/d/a b/c"}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestAProcessIsAliveUntilItEndsAndItsIDAloneProvesNothing(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, err := startTime(cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	process := Process{ID: cmd.Process.Pid, Start: start}
	if !process.Alive() {
		t.Error("a running process is not alive")
	}
	if (Process{ID: process.ID, Start: start + "1"}).Alive() {
		t.Error("another process with the same id is taken for it")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if process.Alive() {
		t.Error("an ended process is alive")
	}
}

func TestANumberWhoseAddressesAreUsedIsNotTaken(t *testing.T) {
	used := []net.Addr{&net.IPNet{IP: net.IPv4(10, 200, 3, 1), Mask: net.CIDRMask(30, 32)}}
	if !overlaps(used, Cluster{Number: 3}.NodeAddress()) || overlaps(used, Cluster{Number: 4}.NodeAddress()) {
		t.Error("10.200.3.0/30 is used, 10.200.4.0/30 is free")
	}
}

func TestTheEndOfALogIsItsLastLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	var text string
	for range 100 {
		text += "line\n"
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := countLines([]byte(tail(file))); got != 15 {
		t.Errorf("%d lines", got)
	}
}
