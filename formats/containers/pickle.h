#pragma once
// The part of Python's pickle (protocol 2) that torch.save writes for a state dict, read by a stack
// machine that runs nothing: the only names it knows are tensors, their storages and OrderedDict.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/bytes.h"
#include "formats/dtype.h"

namespace lancet {

/// A tensor as a view of a storage. Numbers are what the file says: nothing is checked against the
/// storage's bytes.
struct PickledTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::string storage;                       ///< key of its bytes
  std::uint64_t storage_size = 0;            ///< bytes
  std::int64_t first = 0;                    ///< elements before it in the storage
  std::vector<std::int64_t> shape, strides;  ///< elements
};

/// The tensors of a pickled dict, in its order. Error(kInput) with the byte: opcodes and globals
/// beyond those of state dicts (named), a stack that does not fit, more than 64 MiB or 2^22
/// opcodes, entries that are no tensors, names twice, bytes behind the end.
[[nodiscard]] std::vector<PickledTensor> parse_state_dict(Bytes pickle, std::string_view source);

}  // namespace lancet
