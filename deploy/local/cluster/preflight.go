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

// cniDir is where Debian keeps the CNI plugins.
const cniDir = "/usr/lib/cni"

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

// RequireRoot refuses, in one sentence, to go on as anybody else.
func RequireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root, to make namespaces and cgroups: run it with sudo")
	}
	return nil
}

// Bin is the directory this binary was built into, where the programs are that were built with it.
func Bin() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	self, err = filepath.EvalSymlinks(self)
	if err != nil {
		return "", err
	}
	return filepath.Dir(self), nil
}

// preflight says what is missing, all of it, and how to get it.
func preflight(bin string) error {
	if err := RequireRoot(); err != nil {
		return err
	}
	for _, name := range []string{"localkube", "containerd", "containerd-shim-runc-v2", "ctr", "pause"} {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("%s is not in %s: build both with deploy/local/build", name, bin)
		}
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
