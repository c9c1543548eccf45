// libFuzzer target: any bytes either parse as GGUF, with every tensor inside the file, or are an
// input error. Seeds: tests/data/fuzz/fuzz_gguf, the attacks of tests/attacks and what they grew
// into, minimised.

#include <span>
#include <vector>

#include "core/error.h"
#include "formats/containers/gguf.h"
#include "formats/quant/decode.h"
#include "tests/fuzz/broken.h"

namespace {

using lancet::Bytes;
using lancet::Error;
using lancet::ErrorKind;
using lancet::GgufHeader;

using lancet::fuzz::broken;

/// Runs `call`; only an input error may leave it.
template <typename Call>
void tolerate(Call call) {
  try {
    call();
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) broken("errors are input errors");
  }
}

void touch_metadata(const GgufHeader& header) {
  for (const auto& entry : header.metadata) {
    const std::string& key = entry.first;
    if (header.find(key) != &entry.second) broken("keys are unique");
    tolerate([&] { static_cast<void>(header.integer(key)); });
    tolerate([&] { static_cast<void>(header.number(key, 0)); });
    tolerate([&] { static_cast<void>(header.boolean(key, false)); });
    tolerate([&] { static_cast<void>(header.string(key)); });
    tolerate([&] { static_cast<void>(header.strings(key)); });
    tolerate([&] { static_cast<void>(header.integers(key)); });
    tolerate([&] { static_cast<void>(header.numbers(key)); });
  }
}

void touch_tensors(const GgufHeader& header, Bytes file) {
  std::uint64_t end = header.data_offset;
  for (const auto& tensor : header.tensors) {
    if (tensor.offset < end) broken("tensors do not overlap");
    if (tensor.bytes > file.size() || tensor.offset > file.size() - tensor.bytes)
      broken("tensors lie inside");
    end = tensor.offset + tensor.bytes;
    std::vector<float> values(tensor.elements());
    lancet::decode_f32(tensor.dtype, file.subspan(tensor.offset, tensor.bytes), values);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes file = std::as_bytes(std::span(data, size));
  tolerate([&] {
    const GgufHeader header = lancet::parse_gguf(file, size, "fuzz.gguf");
    touch_metadata(header);
    touch_tensors(header, file);
  });
  return 0;
}
