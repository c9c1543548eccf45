#pragma once
// A child process with exactly the descriptors given to it and an empty environment.

#include <string>
#include <vector>

#include "distill/verify/descriptor.h"

namespace lancet {

struct Streams {
  int input = -1, output = -1, error = -1;  ///< become 0, 1, 2
};

/// Starts argv[0] (a path) with `passed` as descriptors 3, 4, ...; every other one is closed. A
/// process of root's gives its rights away first (user and group 65534): limits on the number of
/// processes do not bind root. Returns the process id. Error(kResource) when fork fails; when the
/// program cannot be started, the child says why on its error stream and ends with 127.
[[nodiscard]] int spawn(const std::vector<std::string>& argv, const Streams& streams,
                        const std::vector<Descriptor>& passed);

}  // namespace lancet
