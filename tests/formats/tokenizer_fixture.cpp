#include "tokenizer_fixture.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include <unistd.h>

#include "formats/containers/gguf.h"
#include "tests/catch.h"

namespace lancet::test {
namespace {

/// A directory of this process, removed at its end.
class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (fs::temp_directory_path() / "lancet-tokenizers-XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) path_ = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path_.empty()) fs::remove_all(path_, ignored);
  }
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

const char* environment(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0' ? value : fallback;
}

fs::path model_path() { return environment("LANCET_TEST_GGUF", LANCET_TEST_GGUF); }

}  // namespace

const fs::path& unpacked(std::string_view name) {
  static const TemporaryDirectory directory;
  static std::map<std::string, fs::path, std::less<>> done;
  if (const auto found = done.find(name); found != done.end()) return found->second;
  const fs::path archive = fs::path(environment("LANCET_TEST_DATA", LANCET_TEST_DATA)) /
                           "tokenizers" / (std::string(name) + ".tar.xz");
  REQUIRE(fs::exists(archive));
  const fs::path target = directory.path() / std::string(name);
  fs::create_directories(target);
  const std::string command =
      "tar -xJf '" + archive.string() + "' -C '" + target.string() + "' 2>/dev/null";
  static const fs::path nowhere;
  if (std::system(command.c_str()) != 0) return nowhere;
  return done.emplace(name, target).first->second;
}

std::string missing_for_goldens() {
  return unpacked("goldens").empty() ? "needs tar with xz to unpack the golden files" : "";
}

std::string missing_model() {
  return fs::exists(model_path()) ? "" : "needs the embedded model (scripts/fetch_model.sh)";
}

std::vector<Json> read_lines(const fs::path& path) {
  const std::string text = read_file(path);
  std::vector<Json> lines;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = text.find('\n', at);
    lines.push_back(parse_json(std::string_view(text).substr(at, end - at), path.string()));
    at = end + 1;
  }
  return lines;
}

Tokenizer load_tokenizer(const fs::path& path) {
  return Tokenizer::from_json(read_json(path), path.filename().string());
}

Tokenizer smollm2() {
  const MappedFile file(model_path());
  return Tokenizer::from_gguf(parse_gguf(file.bytes(), file.size(), model_path().string()));
}

Tokenizer real_tokenizer(std::string_view name) {
  if (name == "smollm2") return smollm2();
  return load_tokenizer(unpacked(name) / std::string(name) / "tokenizer.json");
}

std::vector<std::string> synthetic_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(unpacked("goldens") / "synthetic")) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<TokenId> ids_of(const Json& line) { return line.at("i").get<std::vector<TokenId>>(); }

}  // namespace lancet::test
