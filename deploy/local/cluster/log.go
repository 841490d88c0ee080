package cluster

import (
	"os"
	"slices"
)

// tail is the end of a log, for an error message.
func tail(file string) string {
	data, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	const lines = 15
	for at, newline := range slices.Backward(data) {
		if newline == '\n' && at < len(data)-1 {
			if lines == countLines(data[at+1:]) {
				return string(data[at+1:])
			}
		}
	}
	return string(data)
}

func countLines(data []byte) (count int) {
	for _, b := range data {
		if b == '\n' {
			count++
		}
	}
	return count
}
