#include "core/memory.h"

#include <cstddef>
#include <vector>

#include "tests/catch.h"

using namespace lancet;

TEST_CASE("memory: what is held counts while it is held, the peak stays") {
  constexpr std::uint64_t kBytes = 256ULL << 20;
  const std::uint64_t before = resident_memory();
  REQUIRE(before > 0);
  {
    const std::vector<std::byte> held(kBytes, std::byte{1});
    CHECK(resident_memory() >= before + kBytes / 16 * 15);
  }
  CHECK(resident_memory() < before + kBytes / 2);
  CHECK(peak_memory() >= before + kBytes / 16 * 15);
}
