package volumes

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

func at(name, path string) *core.PersistentVolume {
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name},
		Spec:       core.PersistentVolumeSpec{PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}}},
	}
}

func TestOnlyWhatWasMadeHereIsRemoved(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"volumes/one", "volumes/two", "elsewhere"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	volumes := filepath.Join(dir, "volumes")
	p := &provisioner{directory: volumes}
	for name, volume := range map[string]*core.PersistentVolume{
		"one at another's place": at("one", filepath.Join(volumes, "two")),
		"one elsewhere":          at("one", filepath.Join(dir, "elsewhere")),
		"a way out":              at("../elsewhere", filepath.Join(dir, "elsewhere")),
		"one of another kind":    {ObjectMeta: meta.ObjectMeta{Name: "one"}},
	} {
		if err := p.Delete(context.Background(), volume); err == nil {
			t.Errorf("%s is removed", name)
		}
	}
	if err := p.Delete(context.Background(), at("one", filepath.Join(volumes, "one"))); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(volumes, "one")); !os.IsNotExist(err) {
		t.Error("the volume's directory is left")
	}
	for _, name := range []string{"volumes/two", "elsewhere"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestAClaimThatCannotBeServedIsRefusedWithTheField(t *testing.T) {
	p := &provisioner{directory: t.TempDir()}
	for _, options := range []controller.ProvisionOptions{
		{PVC: &core.PersistentVolumeClaim{}},
		{SelectedNodeName: "node", PVC: &core.PersistentVolumeClaim{Spec: core.PersistentVolumeClaimSpec{Selector: &meta.LabelSelector{}}}},
	} {
		if _, state, err := p.Provision(context.Background(), options); err == nil || state != controller.ProvisioningFinished {
			t.Errorf("%+v: %v, %v", options, state, err)
		}
	}
}
