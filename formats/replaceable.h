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

/// kUsage when `out` is, or as a directory holds, one of `inputs` (each MODEL, MODEL+ADAPTER, a
/// file or a folder of files) or a file that one of them links to; also when it is a file that is
/// read with one: a shard, config.json, what its lancet.json lists.
void check_not_input(std::string_view operation, const fs::path& out,
                     const std::vector<fs::path>& inputs);

/// What stands at an output: kModel is a file where its name ends in .gguf or .safetensors.
enum class OutputKind { kFile, kModel, kAdapter };
/// May what stands there be replaced? kPlanned: nothing is written, so nobody asks yet.
enum class Replace { kNo, kPlanned, kForced };
constexpr Replace replaces(bool force, bool plan) {
  if (force) return Replace::kForced;
  return plan ? Replace::kPlanned : Replace::kNo;
}

/// Every command asks it of every place that it writes, before its work and in its plan: kUsage as
/// check_not_input(), where a file shall stand in the place of a directory or of a link to one, and
/// where something is there that may not be replaced; kResource as check_output().
void check_place(std::string_view operation, const fs::path& out, OutputKind kind,
                 const std::vector<fs::path>& inputs, Replace replace);

/// kUsage where `folder`, into which files shall go, is there and is none.
void check_folder(std::string_view operation, const fs::path& folder);

}  // namespace lancet
