package image

import (
	"archive/tar"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// File lays a local file, or a directory with all that is in it, into an image.
type File struct {
	// Source is a path on this machine.
	Source string
	// Target is the absolute path in the image.
	Target string
}

// ParseFile reads SRC:DST.
func ParseFile(text string) (File, error) {
	source, target, found := strings.Cut(text, ":")
	if !found || source == "" || !path.IsAbs(target) {
		return File{}, fmt.Errorf("%q: a file is named SRC:DST, DST being an absolute path", text)
	}
	return File{Source: source, Target: target}, nil
}

// entry is one member of the layer before it is written.
type entry struct {
	header tar.Header
	source string
}

// addTree writes the files and the directories above them, sorted by name. Owner, times and all but the executable bits
// are fixed, so that the layer depends on names and contents alone.
func addTree(out *tar.Writer, files []File) error {
	entries := map[string]entry{}
	for _, file := range files {
		target := strings.TrimPrefix(path.Clean(file.Target), "/")
		for dir := path.Dir(target); dir != "."; dir = path.Dir(dir) {
			entries[dir] = directory(dir)
		}
		if err := collect(entries, file.Source, target); err != nil {
			return err
		}
	}
	// Pods write to /tmp by habit, and an image made of files would have none.
	if _, found := entries["tmp"]; !found {
		tmp := directory("tmp")
		tmp.header.Mode = 0o1777
		entries["tmp"] = tmp
	}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := write(out, entries[name]); err != nil {
			return err
		}
	}
	return nil
}

// collect enters source as target, and what is below it when it is a directory. A symbolic link named by the caller is
// followed; one found in a directory stays a link.
func collect(entries map[string]entry, source, target string) error {
	root, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	return filepath.WalkDir(root, func(file string, found fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(root, file)
		if err != nil {
			return err
		}
		name := path.Join(target, filepath.ToSlash(below))
		if name == "." || name == "" {
			return nil
		}
		info, err := found.Info()
		if err != nil {
			return err
		}
		switch mode := info.Mode(); {
		case mode.IsDir():
			entries[name] = directory(name)
		case mode.IsRegular():
			entries[name] = entry{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: permissions(mode)}, file}
		case mode&fs.ModeSymlink != 0:
			link, err := os.Readlink(file)
			if err != nil {
				return err
			}
			entries[name] = entry{header: tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: link, Mode: 0o777}}
		default:
			return fmt.Errorf("%s is neither a file, a directory nor a symbolic link", file)
		}
		return nil
	})
}

func directory(name string) entry {
	return entry{header: tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755}}
}

func permissions(mode fs.FileMode) int64 {
	if mode&0o111 != 0 {
		return 0o755
	}
	return 0o644
}

func write(out *tar.Writer, e entry) error {
	if e.header.Typeflag != tar.TypeReg {
		return out.WriteHeader(&e.header)
	}
	data, err := os.ReadFile(e.source)
	if err != nil {
		return err
	}
	return addFile(out, e.header.Name, e.header.Mode, data)
}

func addFile(out *tar.Writer, name string, mode int64, data []byte) error {
	header := tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: mode, Size: int64(len(data))}
	if err := out.WriteHeader(&header); err != nil {
		return err
	}
	_, err := out.Write(data)
	return err
}
