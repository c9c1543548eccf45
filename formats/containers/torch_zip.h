#pragma once
// PyTorch's .bin: a zip archive with a pickled state dict (data.pkl) and a member for each storage,
// as torch.save writes it since 1.6. Nothing in it is run (pickle.h).

#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "formats/tensor_info.h"

namespace lancet {

/// The tensors, in order of name; tensors that share a storage share their bytes. Error(kInput) for
/// what is damaged, hostile, TorchScript or of the form before 1.6; kMismatch for tensors that do
/// not lie in one piece in their storage.
[[nodiscard]] std::vector<TensorInfo> parse_torch_zip(Bytes file, std::string_view source);

}  // namespace lancet
