//go:build !linux

package cluster

import (
	"io/fs"
	"os/exec"
	"strconv"
	"strings"
)

// startTime asks ps, to the second; an ended process that nobody waited for counts as gone.
func startTime(id int) (string, error) {
	data, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(id)).Output()
	if err != nil {
		return "", err
	}
	state, start, _ := strings.Cut(strings.TrimSpace(string(data)), " ")
	if state == "" || strings.HasPrefix(state, "Z") {
		return "", fs.ErrNotExist
	}
	return strings.TrimSpace(start), nil
}

// bootID is another after each boot of the machine.
func bootID() string {
	data, err := exec.Command("sysctl", "-n", "kern.boottime").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// commandLines are those of all processes, by their ids.
func commandLines() (map[int]string, error) {
	data, err := exec.Command("ps", "-axww", "-o", "pid=,command=").Output()
	if err != nil {
		return nil, err
	}
	lines := map[int]string{}
	for line := range strings.Lines(string(data)) {
		number, command, _ := strings.Cut(strings.TrimSpace(line), " ")
		if id, err := strconv.Atoi(number); err == nil {
			lines[id] = strings.TrimSpace(command)
		}
	}
	return lines, nil
}
