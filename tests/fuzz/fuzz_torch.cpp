// libFuzzer target: any bytes either are a PyTorch .bin with every tensor inside the file, or an
// input error (or one about strides); the same bytes as a pickle list tensors or are an input
// error.

#include "core/error.h"
#include "formats/containers/pickle.h"
#include "formats/containers/torch_zip.h"
#include "tests/fuzz/broken.h"

namespace {

using lancet::Bytes;
using lancet::Error;
using lancet::ErrorKind;

using lancet::fuzz::broken;

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const Bytes file = std::as_bytes(std::span(data, size));
  try {
    for (const auto& tensor : lancet::parse_torch_zip(file, "fuzz.bin")) {
      if (tensor.offset > size || tensor.bytes > size - tensor.offset)
        broken("tensors lie inside the file");
      if (tensor.bytes != lancet::dtype_bytes(tensor.dtype, tensor.elements()))
        broken("sizes agree with shapes");
    }
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput && error.kind() != ErrorKind::kMismatch)
      broken("errors are input errors");
  }
  try {
    static_cast<void>(lancet::parse_state_dict(file, "fuzz.pkl"));
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kInput) broken("errors are input errors");
  }
  return 0;
}
