package lab

import "strings"

// Environment variables of a command in a node.
const (
	envLab    = "UVS_LAB"      // the lab's name; also the default of --lab
	envNode   = "UVS_LAB_NODE" // the node's name
	envSocket = "UVS_LAB_SOCKET"
)

// environ returns the caller's environment for a command in a node. In PATH our own
// tools come first and the fallbacks last, and the directories of system tools are
// included, since a plain user's PATH often lacks them. UVS_SOCKET is removed: the
// caller's control socket is not that of the node's director.
func environ(env []string, lab, node string) []string {
	path := []string{binDir}
	if p := getenv(env, "PATH"); p != "" {
		path = append(path, p)
	}
	path = append(path, "/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin", fallbackDir)
	for k, v := range map[string]string{
		"PATH": strings.Join(path, ":"), envLab: lab, envNode: node, envSocket: innerSocket,
	} {
		env = setenv(env, k, v)
	}
	return unsetenv(env, "UVS_SOCKET")
}

func getenv(env []string, key string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if v, ok := strings.CutPrefix(env[i], key+"="); ok {
			return v
		}
	}
	return ""
}

// setenv returns a copy of env in which key occurs once.
func setenv(env []string, key, value string) []string {
	return append(unsetenv(env, key), key+"="+value)
}

// unsetenv returns a copy of env without key.
func unsetenv(env []string, key string) []string {
	out := make([]string, 0, len(env)+1)
	for _, kv := range env {
		if !strings.HasPrefix(kv, key+"=") {
			out = append(out, kv)
		}
	}
	return out
}
