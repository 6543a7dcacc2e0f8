package kernelvm

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// kernel is an unpacked kernel package.
type kernel struct {
	image   string // the file vmlinuz-VERSION
	modules string // the directory lib/modules/VERSION
}

// findKernel returns the newest kernel of a version, "6.1", in the cache, or fetches the
// newest one of Debian's archive. It stays in the cache, so that all answers come from the
// same kernel.
func findKernel(ctx context.Context, version string) (kernel, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return kernel{}, fmt.Errorf("kernelvm: no place for kernels: %w", err)
	}
	cache = filepath.Join(cache, "uvs", "kernelvm")
	dirs, _ := filepath.Glob(filepath.Join(cache, "linux-image-*"))
	names := make([]string, len(dirs))
	for i, dir := range dirs {
		names[i] = filepath.Base(dir)
	}
	if name := newest(names, version); name != "" {
		return unpacked(filepath.Join(cache, name))
	}
	name, err := fetch(ctx, cache, version)
	if err != nil {
		return kernel{}, err
	}
	return unpacked(filepath.Join(cache, name))
}

// unpacked finds image and modules in the files of a package.
func unpacked(dir string) (kernel, error) {
	images, _ := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	modules, _ := filepath.Glob(filepath.Join(dir, "usr", "lib", "modules", "*"))
	if modules == nil {
		modules, _ = filepath.Glob(filepath.Join(dir, "lib", "modules", "*"))
	}
	if len(images) != 1 || len(modules) != 1 {
		return kernel{}, fmt.Errorf("kernelvm: %s does not have one kernel and its modules: remove it to have it fetched anew", dir)
	}
	return kernel{images[0], modules[0]}, nil
}

// newest returns the package with the highest version among those for amd64 whose version
// starts with the given one, without flavour (cloud, rt) and debug symbols; it is empty if
// there is none.
func newest(names []string, version string) string {
	image := regexp.MustCompile(`^linux-image-` + regexp.QuoteMeta(version) + `\.[0-9][0-9.+deb-]*-amd64$`)
	best := ""
	for _, name := range names {
		if image.MatchString(name) && (best == "" || slices.Compare(numbers(name), numbers(best)) > 0) {
			best = name
		}
	}
	return best
}

// numbers returns the numbers in a name, in order.
func numbers(name string) (all []int) {
	for _, digits := range regexp.MustCompile(`\d+`).FindAllString(name, -1) {
		n, _ := strconv.Atoi(digits)
		all = append(all, n)
	}
	return all
}

// fetch downloads and unpacks the newest package of a version with apt and dpkg, as any
// user, and returns its name. The package appears in the cache when it is complete, so
// concurrent calls do not interfere.
func fetch(ctx context.Context, cache, version string) (string, error) {
	names, err := output(ctx, "", "apt-cache", "pkgnames", "linux-image-"+version+".")
	if err != nil {
		return "", err
	}
	name := newest(strings.Fields(names), version)
	if name == "" {
		return "", fmt.Errorf("kernelvm: apt knows no kernel package linux-image-%s.*-amd64: run apt-get update, or name another version", version)
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("kernelvm: %w", err)
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", fmt.Errorf("kernelvm: %w", err)
	}
	defer os.RemoveAll(work)
	if _, err := output(ctx, work, "apt-get", "download", name); err != nil {
		return "", fmt.Errorf("%w (apt-get update may help)", err)
	}
	deb, _ := filepath.Glob(filepath.Join(work, "*.deb"))
	tree := filepath.Join(work, "tree")
	if _, err := output(ctx, work, "dpkg-deb", append([]string{"-x"}, append(deb, tree)...)...); err != nil {
		return "", err
	}
	if err := index(ctx, tree); err != nil {
		return "", err
	}
	if err := os.Rename(tree, filepath.Join(cache, name)); err != nil && !os.IsExist(err) {
		return "", fmt.Errorf("kernelvm: %w", err)
	}
	return name, nil
}

// index makes modules.dep for a tree's modules, which the package's installation would do.
func index(ctx context.Context, tree string) error {
	k, err := unpacked(tree)
	if err != nil {
		return err
	}
	depmod, err := find("depmod")
	if err != nil {
		return err
	}
	base := strings.TrimSuffix(filepath.Dir(k.modules), "/lib/modules")
	_, err = output(ctx, tree, depmod, "-b", base, filepath.Base(k.modules))
	return err
}

// output runs a program in a directory and returns what it writes.
func output(ctx context.Context, dir, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	var complaints strings.Builder
	cmd.Dir, cmd.Stderr = dir, &complaints
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("kernelvm: %s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(complaints.String()))
	}
	return string(out), nil
}
