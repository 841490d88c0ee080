package cluster

import (
	"bufio"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// testHierarchies are what this machine has of either cgroup version; one that mounts both lets both be tested. Where the
// second has no controllers, stopping and killing work all the same.
func testHierarchies(t *testing.T) map[string]cgroups {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]cgroups{}
	var first, second string
	for line := range strings.Lines(string(data)) {
		if strings.Contains(line, " cgroup2 ") {
			second += line
		} else {
			first += line
		}
	}
	for name, mounts := range map[string]string{"version 1": first, "version 2": second} {
		if groups, err := parseCgroups(mounts); err == nil {
			found[name] = groups
		}
	}
	return found
}

func TestAWholeTreeOfProcessesIsKilledAndItsCgroupsRemoved(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("making cgroups needs root: run this test as root")
	}
	for version, groups := range testHierarchies(t) {
		t.Run(version, func(t *testing.T) {
			c := Cluster{Name: "unit-test"}
			if err := groups.create(c.cgroup()); err != nil {
				t.Fatal(err)
			}
			// A shell, its child and its grandchild, which says when all are there and ignores polite requests.
			cmd := exec.Command("/bin/sh", "-c", `trap "" TERM HUP; sh -c "sleep 1000 & echo started; wait" & wait`)
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
			output, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			l := &isolatedLauncher{cluster: c, groups: groups}
			onOwnThread(func() { err = l.inCgroup(cmd) })
			if err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(output).ReadString('\n'); line != "started\n" {
				t.Fatal(line, err)
			}
			if ids, err := groups.processes(c.cgroup()); len(ids) != 3 {
				t.Errorf("the cgroup holds %v, %v", ids, err)
			}
			go func() { _ = cmd.Wait() }()
			if err := groups.kill(c.cgroup()); err != nil {
				t.Error(err)
			}
			if ids, err := groups.processes(c.cgroup()); len(ids) != 0 {
				t.Errorf("left are %v, %v", ids, err)
			}
			if err := groups.remove(c.cgroup()); err != nil {
				t.Error(err)
			}
			if groups.exists(c.cgroup()) {
				t.Error("cgroups are left")
			}
		})
	}
}
