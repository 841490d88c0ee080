// Package volumes makes the volumes of a cluster's own StorageClass: a directory for each, on the node that the first pod is
// placed on. They hold data for as long as their claim is there.
package volumes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/sig-storage-lib-external-provisioner/v13/controller"
)

// Provisioner is the name by which a StorageClass asks for volumes of this kind.
const Provisioner = "threeport.dev/localkube"

// Provision makes and removes volumes in a directory until the context ends.
func Provision(ctx context.Context, kubeconfig, directory string) error {
	if !filepath.IsAbs(directory) {
		return fmt.Errorf("directory %q: say an absolute path", directory)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	controller := controller.NewProvisionController(ctx, client, Provisioner, &provisioner{client, directory},
		controller.LeaderElection(false), controller.MetricsPort(0))
	controller.Run(ctx)
	return nil
}

type provisioner struct {
	client    kubernetes.Interface
	directory string
}

// Provision makes a volume's directory. Whoever the pod runs as may write there, as nobody knows yet who that is.
func (p *provisioner) Provision(ctx context.Context, options controller.ProvisionOptions) (*core.PersistentVolume, controller.ProvisioningState, error) {
	if options.SelectedNodeName == "" {
		return nil, controller.ProvisioningFinished, errors.New("the StorageClass must say volumeBindingMode: WaitForFirstConsumer")
	}
	if options.PVC.Spec.Selector != nil {
		return nil, controller.ProvisioningFinished, errors.New("spec.selector: volumes that are made for a claim have no labels to select")
	}
	node, err := p.client.CoreV1().Nodes().Get(ctx, options.SelectedNodeName, meta.GetOptions{})
	if err != nil {
		return nil, controller.ProvisioningNoChange, err
	}
	path := p.path(options.PVName)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return nil, controller.ProvisioningNoChange, err
	}
	// The mode of MkdirAll is narrowed by the umask.
	if err := os.Chmod(path, 0o777); err != nil {
		return nil, controller.ProvisioningNoChange, err
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: options.PVName},
		Spec: core.PersistentVolumeSpec{
			PersistentVolumeReclaimPolicy: *options.StorageClass.ReclaimPolicy,
			AccessModes:                   options.PVC.Spec.AccessModes,
			VolumeMode:                    options.PVC.Spec.VolumeMode,
			Capacity:                      core.ResourceList{core.ResourceStorage: options.PVC.Spec.Resources.Requests[core.ResourceStorage]},
			MountOptions:                  options.StorageClass.MountOptions,
			PersistentVolumeSource:        core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity:                  on(node),
		},
	}
	return volume, controller.ProvisioningFinished, nil
}

// Delete removes a volume's directory with all that is in it.
func (p *provisioner) Delete(_ context.Context, volume *core.PersistentVolume) error {
	// A volume's path can be written by whoever may write volumes: only what Provision made is removed.
	path := p.path(volume.Name)
	if volume.Spec.Local == nil || volume.Spec.Local.Path != path {
		return fmt.Errorf("volume %s is not at %s: it was not made here and is not removed", volume.Name, path)
	}
	return os.RemoveAll(path)
}

func (p *provisioner) path(volume string) string {
	return filepath.Join(p.directory, filepath.Base(volume))
}

// on says that a volume can be used on one node only.
func on(node *core.Node) *core.VolumeNodeAffinity {
	return &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
		MatchExpressions: []core.NodeSelectorRequirement{{
			Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node.Labels[core.LabelHostname]},
		}},
	}}}}
}
