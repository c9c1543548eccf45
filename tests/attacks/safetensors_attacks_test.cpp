// Every malformed safetensors file or shard directory is refused by name, at once, without memory.

#include "tests/attacks/safetensors_attacks.h"

#include <unistd.h>

#include <set>
#include <span>

#include "core/error.h"
#include "formats/checkpoint.h"
#include "formats/containers/safetensors.h"
#include "tests/attacks/allocation_meter.h"
#include "tests/catch.h"
#include "tests/time_limit.h"

namespace lancet {
namespace {

constexpr double kSecondsEach = 1.0 * kSanitizerFactor;  ///< of processor time
/// An entry of a large header costs at most this many times one of a header of an eighth its size:
/// growth with the square would be 8. Caches that no longer hold the table stand for the rest.
constexpr double kCostGrowth = 5.0;
/// Entries, names and the sorted table against the file's own bytes; the smallest entry has 49.
constexpr std::uint64_t kBytesPerByte = 12;
constexpr std::uint64_t kConstantBytes = 64 << 10;

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file)), file.size(), "attack.safetensors");
}

/// Runs `call`; the error's kind and its text.
template <typename Call>
std::pair<ErrorKind, std::string> refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return {error.kind(), error.message() + " " + error.hint()};
  }
  return {ErrorKind::kInternal, "accepted"};
}

/// A directory of files that goes away with the test.
class Scratch {
 public:
  explicit Scratch(const std::map<std::string, std::string>& files)
      : path_(fs::temp_directory_path() / ("lancet_shards_" + std::to_string(getpid()))) {
    fs::create_directories(path_);
    for (const auto& [name, bytes] : files) write_file(path_ / name, bytes);
  }
  ~Scratch() { fs::remove_all(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

}  // namespace

TEST_CASE("safetensors attacks: the files that all of them start from are valid",
          "[attacks][safetensors]") {
  const SafetensorsHeader header = parse(attacks::valid_safetensors());
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[1].offset + header.tensors[1].bytes == attacks::valid_safetensors().size());
  const Scratch shards(attacks::valid_shards());
  CHECK(Checkpoint::open(shards.path())->tensors().size() == 2);
}

TEST_CASE("safetensors attacks: at least 150 of them, each with its own title",
          "[attacks][safetensors]") {
  std::set<std::string> titles;
  const auto attacks = attacks::safetensors_attacks();
  for (const auto& attack : attacks) titles.insert(attack.title);
  CHECK(titles.size() >= 150);
  CHECK(titles.size() == attacks.size());
}

TEST_CASE(
    "safetensors attacks: each is an input error that names file and place, in time and memory",
    "[attacks][safetensors]") {
  for (const auto& attack : attacks::safetensors_attacks()) {
    INFO(attack.title);
    const AllocationMeter meter;
    std::pair<ErrorKind, std::string> refused;
    const double took = processor_seconds(
        [&] { refused = refusal([&] { static_cast<void>(parse(attack.bytes)); }); });
    const std::uint64_t peak = meter.peak();
    const auto& [kind, message] = refused;
    INFO(message);
    CHECK(kind == ErrorKind::kInput);
    CHECK(message.find("attack.safetensors") != std::string::npos);
    CHECK((message.find("tensor '") != std::string::npos ||
           message.find("byte") != std::string::npos));
    CHECK(message.find(attack.expected) != std::string::npos);
    CHECK(message.size() < 1000);
    CHECK(took < kSecondsEach);
    CHECK(peak <= kBytesPerByte * attack.bytes.size() + kConstantBytes);
  }
}

/// A file of `count` tensors without elements.
std::string file_of_empty_tensors(int count) {
  std::string header = "{";
  for (int i = 0; i < count; ++i) {
    header += (i > 0 ? "," : "") + attacks::entry(std::to_string(i), "U8", "0", "0,0");
  }
  return attacks::safetensors_file(header + "}", 0);
}

TEST_CASE("safetensors attacks: more than 2^20 tensors are refused in time and memory",
          "[attacks][safetensors][slow]") {
  const std::string small = file_of_empty_tensors(1 << 17);
  const double expected =
      8 * processor_seconds([&] { CHECK(parse(small).tensors.size() == 1 << 17); });
  const std::string file = file_of_empty_tensors((1 << 20) + 1);
  const AllocationMeter meter;
  std::pair<ErrorKind, std::string> refused;
  const double took =
      processor_seconds([&] { refused = refusal([&] { static_cast<void>(parse(file)); }); });
  const auto& [kind, message] = refused;
  CHECK(kind == ErrorKind::kInput);
  CHECK(message.find("at most 1048576 tensors") != std::string::npos);
  CHECK(meter.peak() <= kBytesPerByte * file.size() + kConstantBytes);
  CHECK(took < kCostGrowth * expected);
}

TEST_CASE("safetensors attacks: each shard directory is an input error that names what is wrong",
          "[attacks][safetensors]") {
  for (const auto& attack : attacks::shard_attacks()) {
    INFO(attack.title);
    const Scratch directory(attack.files);
    const auto [kind, message] =
        refusal([&] { static_cast<void>(Checkpoint::open(directory.path())); });
    INFO(message);
    CHECK(kind == ErrorKind::kInput);
    CHECK(message.find(directory.path().string()) != std::string::npos);
    CHECK(message.find(attack.expected) != std::string::npos);
  }
}

TEST_CASE(
    "safetensors attacks: links that leave the directory are refused, links inside it are followed",
    "[attacks][safetensors]") {
  const Scratch outside({{"secret", attacks::valid_safetensors()}});
  const fs::path model = outside.path() / "model";
  fs::create_directories(model);
  fs::create_symlink("../secret", model / "model.safetensors");
  const auto [kind, message] = refusal([&] { static_cast<void>(Checkpoint::open(model)); });
  CHECK(kind == ErrorKind::kInput);
  CHECK(message.find("link") != std::string::npos);

  fs::remove(model / "model.safetensors");
  write_file(model / "weights", attacks::valid_safetensors());
  fs::create_symlink("weights", model / "model.safetensors");
  CHECK(Checkpoint::open(model)->tensors().size() == 2);
  fs::create_symlink("../secret", model / "LICENSE");
  const auto checkpoint = Checkpoint::open(model);
  CHECK(refusal([&] { static_cast<void>(checkpoint->side_file("LICENSE")); }).first ==
        ErrorKind::kInput);
}

TEST_CASE("safetensors attacks: a hub cache's links into its blobs folder are followed",
          "[attacks][safetensors]") {
  const Scratch cache({});
  fs::create_directories(cache.path() / "blobs");
  fs::create_directories(cache.path() / "snapshots" / "rev");
  write_file(cache.path() / "blobs" / "hash", attacks::valid_safetensors());
  fs::create_symlink("../../blobs/hash", cache.path() / "snapshots" / "rev" / "model.safetensors");
  CHECK(Checkpoint::open(cache.path() / "snapshots" / "rev")->tensors().size() == 2);
}

TEST_CASE(
    "safetensors attacks: any single flipped byte of a valid file parses or is an input error",
    "[attacks][safetensors]") {
  const std::string file = attacks::valid_safetensors();
  std::size_t refused = 0;
  for (std::size_t at = 0; at < file.size() - 24; ++at) {
    for (const unsigned mask : {0x01U, 0x80U, 0xFFU}) {
      std::string changed = file;
      changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ mask);
      try {
        for (const auto& tensor : parse(changed).tensors)
          REQUIRE(tensor.offset + tensor.bytes <= file.size());
      } catch (const Error& error) {
        REQUIRE(error.kind() == ErrorKind::kInput);
        ++refused;
      }
    }
  }
  CHECK(refused > file.size());
}

}  // namespace lancet
