#pragma once
// What --force may remove: a directory that holds what is written over it and nothing else. Naming
// a folder of papers, or one of a command's own inputs, as its output is a slip, not a wish.

#include <string_view>
#include <vector>

#include "core/file.h"

namespace lancet {

enum class DirectoryKind { kModel, kAdapter };

/// kUsage when `out` is a directory that is not empty and holds no model (or adapter), or also
/// something that no model (adapter) has: a folder, or a file that is neither of its usual ones nor
/// named by its lancet.json.
void check_replaceable(const fs::path& out, DirectoryKind kind = DirectoryKind::kModel);

/// kUsage when `out` is, or as a directory holds, one of `inputs` (each MODEL or MODEL+ADAPTER) or
/// a file that one of them links to.
void check_not_input(std::string_view operation, const fs::path& out,
                     const std::vector<fs::path>& inputs);

}  // namespace lancet
