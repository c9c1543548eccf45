// NF4 with double quantisation and int8 rows against vectors that a plain script has computed from
// bitsandbytes' definition (tests/oracle/make_nf4_goldens.py).
#include <cmath>
#include <cstring>

#include "formats/checkpoint.h"
#include "formats/quant/nf4.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

template <class T>
std::vector<T> stored(const std::string& name) {
  static const auto file = Checkpoint::open(fs::path(LANCET_TEST_DATA) / "quant/nf4.safetensors");
  const TensorInfo* info = file->find(name);
  REQUIRE(info != nullptr);
  const Bytes bytes = file->data(*info);
  std::vector<T> out(bytes.size() / sizeof(T));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::int64_t columns_of(const std::string& name) {
  return name == "even" ? 128 : name == "odd" ? 37 : 512;
}

}  // namespace

TEST_CASE("nf4: codes, maxima and their own codes are those of the definition") {
  for (const std::string name : {"even", "odd", "many"}) {
    INFO(name);
    const auto values = stored<float>(name + ".values");
    std::vector<std::uint8_t> codes((values.size() + 1) / 2);
    std::vector<float> maxima((values.size() + 63) / 64);
    encode_nf4(values, codes, maxima);
    CHECK(codes == stored<std::uint8_t>(name + ".codes"));
    CHECK(maxima == stored<float>(name + ".maxima"));
    const DoubleQuantised twice = quantise_maxima(maxima);
    CHECK(twice.codes == stored<std::uint8_t>(name + ".scale_codes"));
    CHECK(twice.maxima == stored<float>(name + ".scale_maxima"));
    CHECK(twice.mean == stored<float>(name + ".mean")[0]);
    std::vector<float> restored(maxima.size()), decoded(values.size());
    restore_maxima(twice, 0, restored);
    decode_nf4(codes, restored, 0, decoded);
    CHECK(decoded == stored<float>(name + ".nf4"));
    // Any part by itself.
    std::vector<float> part(50);
    decode_nf4(codes, restored, 77, part);
    CHECK(std::equal(part.begin(), part.end(), decoded.begin() + 77));
  }
}

TEST_CASE("nf4: zeros stay zeros, and a block's largest value is kept") {
  std::vector<float> values(128, 0.0F);
  values[70] = -3.5F;
  std::vector<std::uint8_t> codes(64);
  std::vector<float> maxima(2), decoded(128);
  encode_nf4(values, codes, maxima);
  decode_nf4(codes, maxima, 0, decoded);
  CHECK(decoded == values);
}

TEST_CASE("int8: rows are rounded to 127 steps of their largest value") {
  for (const std::string name : {"even", "odd", "many"}) {
    INFO(name);
    const auto values = stored<float>(name + ".values");
    const auto wanted = stored<std::int8_t>(name + ".int8_codes");
    const auto again = stored<float>(name + ".int8");
    const auto width = static_cast<std::size_t>(columns_of(name));
    std::vector<std::int8_t> codes(width);
    for (std::size_t first = 0; first < values.size(); first += width) {
      const float scale = encode_int8({values.data() + first, width}, codes);
      for (std::size_t i = 0; i < width; ++i) {
        CHECK(codes[i] == wanted[first + i]);
        CHECK(static_cast<float>(codes[i]) * scale == again[first + i]);
      }
    }
  }
  std::vector<std::int8_t> codes(4);
  CHECK(encode_int8(std::vector<float>(4, 0.0F), codes) == 0);
}
