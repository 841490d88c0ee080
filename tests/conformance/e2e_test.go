// Package conformance names Kubernetes' own suite, so that its module and sums are pinned here.
package conformance

import _ "k8s.io/kubernetes/test/e2e"
