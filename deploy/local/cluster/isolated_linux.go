package cluster

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isolated is root's ground on Linux: a network namespace joined to ours by a veth pair, a mount namespace that lives as
// long as its processes, and a cgroup subtree that every process is born in, those of pods too.
type isolated struct{ groups cgroups }

func (isolated) allocate(c *Cluster, others []Record) error {
	taken := map[int]bool{}
	for _, other := range others {
		taken[other.Number] = true
	}
	number, err := freeNumber(taken)
	if err != nil {
		return err
	}
	c.Number = number
	return saveSysctls()
}

func (g isolated) prepare(c Cluster) error {
	if err := c.createNetwork(); err != nil {
		return err
	}
	if err := g.groups.create(c.cgroup()); err != nil {
		return fmt.Errorf("cgroup: %w", err)
	}
	return nil
}

func (g isolated) enter(c Cluster) (launcher, error) { return newIsolatedLauncher(c, g.groups) }

// names looks at cgroups and at named network namespaces.
func (g isolated) names() ([]string, error) {
	var names []string
	for _, root := range g.groups.roots {
		entries, err := os.ReadDir(filepath.Join(root, "localkube"))
		if ignoreMissing(err) != nil {
			return nil, err
		}
		for _, entry := range entries {
			if entry.IsDir() {
				names = append(names, entry.Name())
			}
		}
	}
	entries, err := os.ReadDir(netnsDir)
	if ignoreMissing(err) != nil {
		return nil, err
	}
	for _, entry := range entries {
		if name, found := strings.CutPrefix(entry.Name(), "localkube-"); found {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// clear goes in an order that can be broken off anywhere and begun again.
func (g isolated) clear(c Cluster) error {
	if err := g.groups.kill(c.cgroup()); err != nil {
		return err
	}
	if c.Dir != "" {
		if err := unmountBelow(c.Dir); err != nil {
			return err
		}
	}
	if err := c.deleteNetwork(); err != nil {
		return err
	}
	return g.groups.remove(c.cgroup())
}

func (isolated) restore() error {
	for _, dir := range privateDirs {
		removeEmpty(dir)
	}
	return restoreSysctls()
}
