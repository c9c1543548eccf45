#pragma once
// model.safetensors.index.json: which shard holds which tensor. Shard names are bare file names, so
// that an index can never reach outside its directory.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/file.h"

namespace lancet {

struct ShardIndex {
  std::vector<std::string> shards;                             ///< file names, sorted, distinct
  std::vector<std::pair<std::string, std::uint32_t>> tensors;  ///< name -> shard, sorted by name
  std::optional<std::uint64_t> total_size;                     ///< a hint, never an allocation
};

/// `source` names the text in errors (kInput). Limits: 2^20 tensors, 10,000 shards; duplicate keys
/// refused.
[[nodiscard]] ShardIndex parse_shard_index(std::string_view text, std::string_view source);

/// The path of `name`, a bare file name, in `directory`: kInput for anything that is a path, a
/// hidden file, or a symbolic link that leaves the directory (a hub cache's `blobs` folder is part
/// of it).
[[nodiscard]] fs::path resolve_in_directory(const fs::path& directory, std::string_view name);
/// `path`, which lies in `directory` or a folder of it, or the file that it links to. Errors of
/// links as above.
[[nodiscard]] fs::path resolve_link(const fs::path& path, const fs::path& directory);

/// "model-00001-of-00003.safetensors" for k = 0, n = 3.
[[nodiscard]] std::string shard_name(std::size_t k, std::size_t n);

/// Text of an index; `tensors`: name -> shard file.
[[nodiscard]] std::string shard_index_text(const std::map<std::string, std::string>& tensors,
                                           std::uint64_t total_size);

}  // namespace lancet
