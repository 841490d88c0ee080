package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func spec(t *testing.T) Spec {
	t.Helper()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"program": 0o700, "www/index.html": 0o600, "www/a.txt": 0o644} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a.txt", filepath.Join(dir, "www/link")); err != nil {
		t.Fatal(err)
	}
	return Spec{
		Name:       "web",
		Entrypoint: []string{"/bin/program", "-x"},
		Env:        []string{"A=1"},
		Files:      []File{{filepath.Join(dir, "program"), "/bin/program"}, {filepath.Join(dir, "www"), "/srv/www"}},
	}
}

func archive(t *testing.T, s Spec) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := s.Write(&buf); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func members(t *testing.T, data []byte) (headers map[string]*tar.Header, contents map[string][]byte) {
	t.Helper()
	headers, contents = map[string]*tar.Header{}, map[string][]byte{}
	for in := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return headers, contents
		}
		if err != nil {
			t.Fatal(err)
		}
		headers[header.Name] = header
		if contents[header.Name], err = io.ReadAll(in); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTheSameFilesGiveTheSameBytesWhateverTheirTimesAndOrder(t *testing.T) {
	s := spec(t)
	first := archive(t, s)
	past := time.Unix(1000, 0)
	for _, file := range s.Files {
		if err := os.Chtimes(file.Source, past, past); err != nil {
			t.Fatal(err)
		}
	}
	s.Files[0], s.Files[1] = s.Files[1], s.Files[0]
	if !bytes.Equal(first, archive(t, s)) {
		t.Error("the archives differ")
	}
}

func TestDifferentContentsGiveDifferentBytes(t *testing.T) {
	s := spec(t)
	first := archive(t, s)
	if err := os.WriteFile(s.Files[0].Source, []byte("other"), 0o700); err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(first, archive(t, s)) {
		t.Error("the archives are the same")
	}
}

func TestALayerHoldsFilesDirectoriesAndLinks(t *testing.T) {
	data, err := layer(spec(t).Files)
	if err != nil {
		t.Fatal(err)
	}
	headers, contents := members(t, data)
	for name, mode := range map[string]int64{
		"bin/": 0o755, "bin/program": 0o755, "srv/": 0o755, "srv/www/": 0o755, "srv/www/index.html": 0o644, "tmp/": 0o1777,
	} {
		if header := headers[name]; header == nil || header.Mode != mode {
			t.Errorf("%s is %+v", name, header)
		}
	}
	if string(contents["srv/www/index.html"]) != "www/index.html" {
		t.Errorf("contents are %q", contents["srv/www/index.html"])
	}
	if link := headers["srv/www/link"]; link == nil || link.Linkname != "a.txt" {
		t.Errorf("the link is %+v", link)
	}
}

func TestEveryBlobIsNamedByItsContent(t *testing.T) {
	_, contents := members(t, archive(t, spec(t)))
	blobs := 0
	for name, data := range contents {
		if hash, found := strings.CutPrefix(name, "blobs/sha256/"); found {
			blobs++
			if hash != sum(data) {
				t.Errorf("%s holds %s", name, sum(data))
			}
		}
	}
	if blobs != 3 {
		t.Errorf("%d blobs", blobs)
	}
	if idx := string(contents["index.json"]); !strings.Contains(idx, `"io.containerd.image.name":"docker.io/library/web:latest"`) {
		t.Errorf("the index is %s", idx)
	}
}

func TestNamesAreWrittenAsTheKubeletLooksThemUp(t *testing.T) {
	for name, want := range map[string]string{
		"web": "docker.io/library/web:latest", "me/web:1": "docker.io/me/web:1", "web.test/web:1": "web.test/web:1",
	} {
		if got, err := Normalize(name); err != nil || got != want {
			t.Errorf("%s is %s, %v", name, got, err)
		}
	}
	if _, err := Normalize("Not A Name"); err == nil {
		t.Error("a bad name is accepted")
	}
}

func TestAFileIsNamedBySourceAndAbsoluteTarget(t *testing.T) {
	if file, err := ParseFile("a:/b"); err != nil || file != (File{"a", "/b"}) {
		t.Errorf("%v, %v", file, err)
	}
	for _, bad := range []string{"a", "a:b", ":/b", "a:"} {
		if _, err := ParseFile(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
