package cluster

import (
	"fmt"
	"os"
	"path/filepath"
)

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

// checkFiles says which of the files that are built together is not there.
func checkFiles(bin string, names ...string) error {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(bin, name)); err != nil {
			return fmt.Errorf("%s is not in %s: build all of it with deploy/local/build", name, bin)
		}
	}
	return nil
}
