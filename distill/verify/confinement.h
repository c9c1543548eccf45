#pragma once
// The command line of bubblewrap: what the sandbox sees, and the descriptors that carry it in.

#include <string>
#include <vector>

#include "distill/verify/descriptor.h"
#include "distill/verify/sandbox.h"

namespace lancet {

/// A process to start: its descriptors 3, 4, ... are `passed`, in this order.
struct Confinement {
  std::vector<std::string> argv;
  std::vector<Descriptor> passed;
  int report_fd = -1;  ///< number of the report pipe's writing end inside
};

/// bubblewrap, name spaces, mounts, files, and the cell with the steps of `program`. `report` is
/// the writing end of the report pipe. Error(kResource) when bubblewrap or the cell are missing.
[[nodiscard]] Confinement confine(const Program& program, const SandboxLimits& limits,
                                  Descriptor report);

}  // namespace lancet
