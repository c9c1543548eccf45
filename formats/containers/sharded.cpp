#include "formats/containers/sharded.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/text.h"
#include "formats/containers/json_cursor.h"
#include "formats/containers/safetensors_limits.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "checkpoint";
constexpr std::size_t kMaxShards = 10'000;
constexpr std::size_t kMaxFileName = 255;
constexpr int kMaxSkippedDepth = 8;

/// Why `name` is not a bare file name, or "".
std::string file_name_problem(std::string_view name) {
  const std::string shown = printable(name);
  if (name.empty()) return "expected a file name, found an empty string";
  if (name.size() > kMaxFileName)
    return fmt::format("expected a file name of at most 255 bytes, found '{}'", shown);
  if (name.front() == '.')
    return fmt::format("expected a file name, found the hidden or relative '{}'", shown);
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F)
      return fmt::format("expected a printable file name, found '{}'", shown);
    if (c == '/' || c == '\\' || c == ':')
      return fmt::format("expected a bare file name, found the path '{}'", shown);
  }
  return {};
}

struct Mapping {
  std::string tensor;
  std::string shard;
};

std::vector<Mapping> read_weight_map(JsonCursor& json) {
  std::vector<Mapping> map;
  std::string key;
  json.open_object("weight_map");
  for (bool first = true; json.next_key(first, key); first = false) {
    json.set_subject(fmt::format("tensor '{}'", printable(key)));
    if (const auto problem = safetensors_limits::tensor_name_problem(key); !problem.empty())
      json.fail_here(problem);
    if (map.size() == safetensors_limits::kMaxTensors)
      json.fail_here("expected at most 2^20 tensors, found more");
    std::string shard = json.string("a shard file", 4096);
    if (const auto problem = file_name_problem(shard); !problem.empty()) json.fail_here(problem);
    map.push_back({key, std::move(shard)});
  }
  json.set_subject({});
  return map;
}

std::optional<std::uint64_t> read_total_size(JsonCursor& json) {
  std::optional<std::uint64_t> total;
  std::string key;
  json.open_object("metadata");
  for (bool first = true; json.next_key(first, key); first = false) {
    if (key == "total_size" && json.at_natural()) {
      total = json.natural("total_size");
    } else {
      json.skip_value(kMaxSkippedDepth);
    }
  }
  return total;
}

void number_shards(const std::vector<Mapping>& map, std::string_view source, ShardIndex& index) {
  for (const Mapping& entry : map) index.shards.push_back(entry.shard);
  std::ranges::sort(index.shards);
  index.shards.erase(std::unique(index.shards.begin(), index.shards.end()), index.shards.end());
  if (index.shards.size() > kMaxShards) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: expected at most {} shards, found {}", source, kMaxShards,
                     index.shards.size()));
  }
  for (const Mapping& entry : map) {
    const auto place = std::ranges::lower_bound(index.shards, entry.shard);
    index.tensors.emplace_back(entry.tensor,
                               static_cast<std::uint32_t>(place - index.shards.begin()));
  }
}

}  // namespace

ShardIndex parse_shard_index(std::string_view text, std::string_view source) {
  if (const auto bad = find_invalid_utf8(text)) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: expected UTF-8, found an invalid sequence at byte {}", source, *bad));
  }
  JsonCursor json(text, kOperation, source);
  ShardIndex index;
  std::vector<Mapping> map;
  bool map_seen = false;
  std::vector<std::string> keys;
  std::string key;
  json.open_object("the index");
  for (bool first = true; json.next_key(first, key); first = false) {
    if (std::ranges::find(keys, key) != keys.end() || keys.size() == 64) {
      json.fail_here(fmt::format("expected each key once, found '{}' again", printable(key)));
    }
    keys.push_back(key);
    if (key == "weight_map") {
      map = read_weight_map(json);
      map_seen = true;
    } else if (key == "metadata") {
      index.total_size = read_total_size(json);
    } else {
      json.skip_value(kMaxSkippedDepth);
    }
  }
  json.finish();
  if (!map_seen || map.empty()) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: expected a weight_map with tensors, found none at byte 0", source));
  }
  std::ranges::sort(map, {}, &Mapping::tensor);
  const auto twice = std::ranges::adjacent_find(map, {}, &Mapping::tensor);
  if (twice != map.end()) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: tensor '{}': expected each name once in weight_map, found it twice",
                     source, printable(twice->tensor)));
  }
  number_shards(map, source, index);
  return index;
}

fs::path resolve_in_directory(const fs::path& directory, std::string_view name) {
  if (const std::string problem = file_name_problem(name); !problem.empty()) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: {}", printable(directory.string(), 400), problem));
  }
  return resolve_link(directory / name, directory);
}

fs::path resolve_link(const fs::path& path, const fs::path& directory) {
  std::error_code error;
  if (!fs::is_symlink(path, error)) return path;
  fs::path target = fs::canonical(path, error);
  if (error) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}: expected a file, found a broken link", printable(path.string(), 400)));
  }
  fs::path root = fs::canonical(directory);
  // A hub cache: models--X/snapshots/REVISION/name -> models--X/blobs/HASH.
  const bool snapshot = root.parent_path().filename() == "snapshots";
  const fs::path blobs = root.parent_path().parent_path() / "blobs";
  const auto inside = [&](const fs::path& base) {
    return std::ranges::mismatch(base, target).in1 == base.end();
  };
  if (inside(root) || (snapshot && inside(blobs))) return target;
  fail(ErrorKind::kInput, kOperation,
       fmt::format("{}: expected a file of this directory, found a link to {}",
                   printable(path.string(), 400), printable(target.string(), 400)),
       "copy the file into the directory, or link the whole directory");
}

std::string shard_name(std::size_t k, std::size_t n) {
  return fmt::format("model-{:05}-of-{:05}.safetensors", k + 1, n);
}

std::string shard_index_text(const std::map<std::string, std::string>& tensors,
                             std::uint64_t total_size) {
  Json index;
  index["metadata"]["total_size"] = total_size;
  Json& map = index["weight_map"] = Json::object();
  // Distinct sorted names: appended without the linear search of operator[].
  auto& entries = map.get_ref<Json::object_t&>();
  for (const auto& [tensor, shard] : tensors) {
    entries.emplace_back(tensor, shard);
  }
  return dump_json(index, 2) + "\n";
}

}  // namespace lancet
