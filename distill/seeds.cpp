#include "distill/seeds.h"

#include <algorithm>
#include <charconv>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint64_t kFileLimit = 4ULL << 30;

class Reader {
 public:
  explicit Reader(const Job& job) : needs_(job.data.recipe->needs) {}

  void read(const fs::path& path) {
    std::error_code ignored;
    if (fs::is_directory(path, ignored)) {
      std::vector<fs::path> files;
      for (const auto& each : fs::recursive_directory_iterator(path)) {
        if (each.is_regular_file()) files.push_back(each.path());
      }
      std::sort(files.begin(), files.end());
      for (const fs::path& each : files) read_whole(each);
    } else if (path.extension() == ".jsonl" || path.extension() == ".txt") {
      read_lines(path, path.extension() == ".jsonl");
    } else {
      read_whole(path);
    }
  }

  std::vector<Seed> seeds;
  std::size_t duplicates = 0;

 private:
  std::string needs_;
  std::set<std::string> seen_;

  void add(Json value, std::string label) {
    const auto found = value.find(needs_);
    const bool talk = needs_ == "prompt" && value.contains("messages");
    if (!needs_.empty() && !talk &&
        (found == value.end() || !found->is_string() ||
         found->get_ref<const std::string&>().empty()))
      fail(ErrorKind::kInput, "seeds",
           fmt::format("{}: expected a text under '{}', found none", label, needs_));
    if (!seen_.insert(sha256_hex(canonical_json(value))).second) {
      ++duplicates;
      return;
    }
    seeds.push_back({std::move(value), std::move(label)});
  }

  void read_lines(const fs::path& path, bool json) {
    const std::string text = read_file(path, kFileLimit);
    std::size_t number = 0;
    for (std::size_t at = 0; at < text.size();) {
      const std::size_t end = std::min(text.find('\n', at), text.size());
      std::string_view line = std::string_view(text).substr(at, end - at);
      at = end + 1;
      ++number;
      if (line.ends_with('\r')) line.remove_suffix(1);
      if (line.find_first_not_of(" \t") == line.npos) continue;
      const std::string label = fmt::format("{}:{}", path.filename().string(), number);
      if (!json) {
        check_text(line, label);
        add({{needs_.empty() ? "text" : needs_, line}}, label);
        continue;
      }
      Json value = parse_json(line, fmt::format("{}:{}", path.string(), number));
      if (!value.is_object())
        fail(ErrorKind::kInput, "seeds", fmt::format("{}: expected an object", label));
      add(std::move(value), label);
    }
  }

  void read_whole(const fs::path& path) {
    const std::string text = read_file(path, kFileLimit);
    check_text(text, path.string());
    add({{needs_.empty() ? "text" : needs_, text}, {"source", path.filename().string()}},
        path.filename().string());
  }

  static void check_text(std::string_view text, const std::string& label) {
    if (const auto bad = find_invalid_utf8(text))
      fail(ErrorKind::kInput, "seeds", fmt::format("{}: invalid UTF-8 at byte {}", label, *bad));
  }
};

}  // namespace

std::vector<Seed> read_seeds(const Job& job, std::size_t& duplicates) {
  Reader reader(job);
  for (const fs::path& path : job.data.seeds) reader.read(path);
  duplicates = reader.duplicates;
  if (reader.seeds.empty() && !job.data.seeds.empty())
    fail(ErrorKind::kInput, "seeds",
         fmt::format("{} holds no seed", job.data.seeds.front().string()));
  if (job.data.limit > 0 && reader.seeds.size() > job.data.limit)
    reader.seeds.resize(job.data.limit);
  return std::move(reader.seeds);
}

std::string seed_key(const DataRecipe& recipe, const Json& seed, std::uint32_t sample) {
  return sha256_hex(fmt::format("{}\n{}\n{}", recipe.name, canonical_json(seed), sample))
      .substr(0, 16);
}

bool in_part(std::string_view key, unsigned part, unsigned parts) {
  std::uint64_t value = 0;
  std::from_chars(key.data(), key.data() + key.size(), value, 16);
  return value % parts == part - 1;
}

}  // namespace lancet
