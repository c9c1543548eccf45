#include "core/bytes.h"

#include <array>
#include <limits>

#include "tests/catch.h"
#include "tests/core/scratch.h"

using namespace lancet;

namespace {
constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
}

TEST_CASE("checked arithmetic: what fits is exact and what does not is nothing") {
  CHECK(checked_add(kMost - 1, 1) == kMost);
  CHECK_FALSE(checked_add(kMost, 1));
  CHECK(checked_mul(1ULL << 32, (1ULL << 32) - 1) == 0xFFFFFFFF00000000ULL);
  CHECK_FALSE(checked_mul(1ULL << 32, 1ULL << 32));
  CHECK(checked_mul(0, kMost) == 0);
}

TEST_CASE("checked_align: rounds up and never past 64 bits") {
  CHECK(checked_align(0, 32) == 0);
  CHECK(checked_align(1, 32) == 32);
  CHECK(checked_align(64, 32) == 64);
  CHECK_FALSE(checked_align(kMost, 32));
}

TEST_CASE("load_le and store_le work at odd addresses") {
  std::array<unsigned char, 9> raw{};
  store_le<std::uint64_t>(raw.data() + 1, 0x0102030405060708ULL);
  CHECK(raw[1] == 8);
  CHECK(raw[8] == 1);
  CHECK(load_le<std::uint64_t>(raw.data() + 1) == 0x0102030405060708ULL);
}

TEST_CASE("human_bytes: units change at 1024 and no number reads 1024.00") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(812) == "812 B");
  CHECK(human_bytes(1024) == "1.00 KiB");
  CHECK(human_bytes(1536ULL << 20) == "1.50 GiB");
  CHECK(human_bytes((1ULL << 20) - 1) == "1.00 MiB");
  CHECK(human_bytes(kMost) == "16.00 EiB");
}

TEST_CASE("parse_bytes: decimal and binary units are told apart") {
  CHECK(parse_bytes("1000000") == 1'000'000);
  CHECK(parse_bytes("2GiB") == 2ULL << 30);
  CHECK(parse_bytes("512 MB") == 512'000'000);
  CHECK(parse_bytes("5 gb") == 5'000'000'000);
  CHECK(parse_bytes("1.5GiB") == 1536ULL << 20);
  CHECK(parse_bytes("3G") == 3ULL << 30);
  CHECK(parse_bytes("7 B") == 7);
  CHECK(parse_bytes("18446744073709551615") == kMost);
}

TEST_CASE("parse_bytes: text that is no size or passes 64 bits is a usage error") {
  for (const char* text :
       {"", "GiB", "-1", "1.", ".5GiB", "1 XB", "1GiBs", "1iB", "0x10", "1 2", "0", "0GiB",
        "0.0 kB", "18446744073709551616", "17179869184GiB", "1e3", " 5", "nan"}) {
    INFO(text);
    const auto error = test::error_of([&] { (void)parse_bytes(text); });
    REQUIRE(error);
    CHECK(error->kind() == ErrorKind::kUsage);
  }
}
