// Every malformed GGUF file is refused by name, at once, without memory.

#include <cstdlib>
#include <new>
#include <set>
#include <span>

#include "core/error.h"
#include "formats/containers/gguf.h"
#include "tests/attacks/allocation_meter.h"
#include "tests/attacks/gguf_attacks.h"
#include "tests/catch.h"
#include "tests/time_limit.h"

namespace lancet {
namespace {

constexpr double kSecondsEach = 1.0 * kSanitizerFactor;  ///< of processor time
/// The table of spans and the message, beyond the size of the file itself.
constexpr std::uint64_t kConstantBytes = 64 << 10;

Bytes bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

GgufHeader parse(const std::string& file) {
  return parse_gguf(bytes_of(file), file.size(), "attack.gguf");
}

}  // namespace

TEST_CASE("gguf attacks: the file that all of them start from is valid", "[attacks][gguf]") {
  const std::string file = attacks::small_valid_gguf().build();
  const GgufHeader header = parse(file);
  CHECK(header.metadata.size() == 4);
  REQUIRE(header.tensors.size() == 2);
  CHECK(header.tensors[1].offset + 64 == file.size());
  CHECK(parse(file.substr(0, file.size() - 30)).tensors.size() ==
        2);  // the last padding may be missing
}

TEST_CASE("gguf attacks: at least 90 of them, each with its own title", "[attacks][gguf]") {
  std::set<std::string> titles;
  for (const auto& attack : attacks::gguf_attacks()) titles.insert(attack.title);
  CHECK(titles.size() >= 90);
  CHECK(titles.size() == attacks::gguf_attacks().size());
}

TEST_CASE("gguf attacks: each is an input error that names file and offset, in time and memory",
          "[attacks][gguf]") {
  for (const auto& attack : attacks::gguf_attacks()) {
    INFO(attack.title);
    std::string message;
    ErrorKind kind = ErrorKind::kInternal;
    const AllocationMeter meter;
    const double took = processor_seconds([&] {
      try {
        static_cast<void>(parse(attack.bytes));
      } catch (const Error& error) {
        kind = error.kind();
        message = error.message() + " " + error.hint();
      }
    });
    const std::uint64_t peak = meter.peak();
    INFO(message);
    CHECK(kind == ErrorKind::kInput);
    CHECK(message.find("attack.gguf") != std::string::npos);
    CHECK(message.find("offset ") != std::string::npos);
    CHECK(message.find(attack.expected) != std::string::npos);
    CHECK(message.size() < 2000);
    CHECK(took < kSecondsEach);
    CHECK(peak <= 4 * attack.bytes.size() + kConstantBytes);
  }
}

TEST_CASE("gguf attacks: any single flipped byte of a valid header parses or is an input error",
          "[attacks][gguf]") {
  const auto valid = attacks::small_valid_gguf();
  const std::string file = valid.build();
  std::size_t refused = 0;
  for (std::size_t at = 0; at < valid.header().size(); ++at) {
    for (const unsigned mask : {0x01U, 0x80U, 0xFFU}) {
      std::string changed = file;
      changed[at] = static_cast<char>(static_cast<unsigned char>(changed[at]) ^ mask);
      try {
        const GgufHeader header = parse(changed);
        for (const auto& tensor : header.tensors)
          REQUIRE(tensor.offset + tensor.bytes <= file.size());
      } catch (const Error& error) {
        REQUIRE(error.kind() == ErrorKind::kInput);
        ++refused;
      }
    }
  }
  CHECK(refused > valid.header().size());
}

TEST_CASE("gguf attacks: a hundred thousand tensors of one name are refused without quadratic time",
          "[attacks][gguf]") {
  auto builder = attacks::small_valid_gguf();
  builder.tensors.assign(100000, builder.tensors.front());
  const std::string file = builder.build();
  CHECK(processor_seconds([&] { CHECK_THROWS_AS(parse(file), Error); }) < kSecondsEach);
}

}  // namespace lancet
