#pragma once
// The system calls that code in a sandbox may make, as the BPF program that bubblewrap loads.

#include <string>

namespace lancet {

/// Everything outside the list fails with ENOSYS, sockets of other families than AF_UNIX with
/// EACCES; code for another architecture is killed. Error(kResource) where libseccomp refuses.
[[nodiscard]] std::string seccomp_program();

}  // namespace lancet
