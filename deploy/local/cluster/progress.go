package cluster

import (
	"fmt"
	"io"
	"time"
)

// progress prints a line for each step, with the time it took and the time since the beginning.
type progress struct {
	out         io.Writer
	begin, last time.Time
}

func newProgress(out io.Writer) *progress {
	now := time.Now()
	return &progress{out: out, begin: now, last: now}
}

func (p *progress) done(step string) {
	now := time.Now()
	fmt.Fprintf(p.out, "%6.2f s  %s\n", now.Sub(p.last).Seconds(), step)
	p.last = now
}
