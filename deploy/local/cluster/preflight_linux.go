package cluster

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// needs are the programs a cluster runs on, with the Debian packages that have them.
var needs = []struct{ file, pkg string }{
	{"runc", "runc"},
	{"nft", "nftables"},
	{"iptables", "iptables"},
	{"mount", "mount"},
	{cniDir + "/bridge", "containernetworking-plugins"},
	{cniDir + "/host-local", "containernetworking-plugins"},
	{cniDir + "/loopback", "containernetworking-plugins"},
	{cniDir + "/portmap", "containernetworking-plugins"},
}

func (isolated) check(bin string, nodes Nodes) error {
	files := []string{"localkube"}
	if nodes.Kwok > 0 {
		files = append(files, stagesFile)
	}
	if !nodes.Real {
		return checkFiles(bin, files...)
	}
	if err := checkFiles(bin, append(files, "containerd", "containerd-shim-runc-v2", "ctr", "pause", systemArchive)...); err != nil {
		return err
	}
	if data, err := os.ReadFile("/proc/filesystems"); err == nil && !strings.Contains(string(data), "\toverlay\n") {
		if err := exec.Command("modprobe", "overlay").Run(); err != nil {
			return errors.New("the kernel has no overlay filesystem: load its module with `modprobe overlay`")
		}
	}
	if packages := missingPackages(); len(packages) > 0 {
		return fmt.Errorf("programs are missing: install them with `apt-get install %s`", strings.Join(packages, " "))
	}
	return nil
}

func missingPackages() []string {
	var packages []string
	for _, need := range needs {
		if !installed(need.file) && !slices.Contains(packages, need.pkg) {
			packages = append(packages, need.pkg)
		}
	}
	return packages
}

// installed looks where the components will look, see [environment].
func installed(file string) bool {
	if filepath.IsAbs(file) {
		_, err := os.Stat(file)
		return err == nil
	}
	return slices.ContainsFunc([]string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"},
		func(dir string) bool {
			_, err := os.Stat(filepath.Join(dir, file))
			return err == nil
		})
}
