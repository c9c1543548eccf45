#include "formats/containers/torch_zip.h"

#include <algorithm>
#include <map>
#include <string>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/pickle.h"
#include "formats/containers/safetensors_limits.h"
#include "formats/containers/zip.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "torch";
constexpr std::string_view kPickle = "data.pkl";

class Archive {
 public:
  Archive(Bytes file, std::string_view source) : in_(file, kOperation, source), source_(source) {
    constexpr std::uint32_t kLocalHeader = 0x04034b50;
    if (file.size() < 4 || in_.at<std::uint32_t>(0) != kLocalHeader) {
      in_.bad(0, "a zip archive, as torch.save writes since 1.6", "another form",
              "load it with torch and save it again, or as safetensors");
    }
    for (ZipMember& member : parse_zip(in_)) members_.emplace(member.name, std::move(member));
    find_folder();
    if (const ZipMember* order = find("byteorder")) {
      if (in_.text(order->offset, order->data.size()) != "little")
        in_.bad(order->offset, "little-endian numbers", "another byte order");
    }
    if (find("constants.pkl") != nullptr)
      in_.bad(0, "a state dict", "a TorchScript program", "save model.state_dict() instead");
  }

  std::vector<TensorInfo> tensors() const {
    const ZipMember& pickle = *find(kPickle);
    std::vector<TensorInfo> out;
    for (const PickledTensor& tensor : parse_state_dict(pickle.data, source_))
      out.push_back(placed(tensor));
    std::ranges::sort(out, {}, &TensorInfo::name);
    const auto twice = std::ranges::adjacent_find(out, {}, &TensorInfo::name);
    if (twice != out.end()) {
      in_.bad(pickle.offset, "each tensor once", fmt::format("'{}' twice", printable(twice->name)));
    }
    return out;
  }

 private:
  OffsetReader in_;
  std::string_view source_;
  std::map<std::string, ZipMember, std::less<>> members_;
  std::string folder_;  ///< "archive/"

  const ZipMember* find(std::string_view name) const {
    const auto found = members_.find(folder_ + std::string(name));
    return found == members_.end() ? nullptr : &found->second;
  }
  void find_folder() {
    std::size_t pickles = 0;
    for (const auto& [name, member] : members_) {
      const std::size_t slash = name.find('/');
      if (slash == name.npos || std::string_view(name).substr(slash + 1) != kPickle) continue;
      folder_ = name.substr(0, slash + 1);
      ++pickles;
    }
    if (pickles != 1) in_.bad(0, "one FOLDER/data.pkl in the archive", fmt::format("{}", pickles));
  }

  TensorInfo placed(const PickledTensor& tensor) const {
    const ZipMember* storage = find("data/" + tensor.storage);
    const auto refuse = [&](std::string_view expected, std::string_view found) {
      in_.bad(storage == nullptr ? 0 : storage->offset,
              fmt::format("tensor '{}': {}", printable(tensor.name), expected), found);
    };
    if (const auto problem = safetensors_limits::tensor_name_problem(tensor.name); !problem.empty())
      refuse("a name", problem);
    if (storage == nullptr) refuse("the storage " + printable(tensor.storage), "none");
    if (storage->data.size() != tensor.storage_size) {
      refuse(fmt::format("a storage of {} bytes", tensor.storage_size),
             fmt::format("{}", storage->data.size()));
    }
    TensorInfo info{.name = tensor.name, .dtype = tensor.dtype, .shape = tensor.shape};
    std::optional<std::uint64_t> elements = 1;
    if (info.shape.size() > safetensors_limits::kMaxRank ||
        info.shape.size() != tensor.strides.size())
      refuse("a stride for each dimension", fmt::format("{}", tensor.strides.size()));
    for (const std::int64_t dim : info.shape) {
      if (dim < 0) refuse("a shape", fmt::format("{}", dim));
      if (elements) elements = checked_mul(*elements, static_cast<std::uint64_t>(dim));
    }
    const auto bytes = elements ? dtype_bytes(info.dtype, *elements) : std::nullopt;
    const auto first = tensor.first < 0
                           ? std::nullopt
                           : dtype_bytes(info.dtype, static_cast<std::uint64_t>(tensor.first));
    const auto end = bytes && first ? checked_add(*bytes, *first) : std::nullopt;
    if (!end || *end > tensor.storage_size)
      refuse("values inside its storage", fmt::format("{} bytes there", tensor.storage_size));
    info.bytes = *bytes;
    info.offset = storage->offset + *first;
    check_in_one_piece(tensor);
    return info;
  }
  void check_in_one_piece(const PickledTensor& tensor) const {
    if (std::ranges::find(tensor.shape, 0) != tensor.shape.end()) return;
    std::int64_t stride = 1;
    for (std::size_t d = tensor.shape.size(); d-- > 0;) {
      if (tensor.shape[d] > 1 && tensor.strides[d] != stride) {
        fail(
            ErrorKind::kMismatch, kOperation,
            fmt::format("tensor '{}': expected rows one after the other, found a strided view ({})",
                        printable(tensor.name), source_),
            "save it again with .contiguous()");
      }
      stride *= tensor.shape[d];
    }
  }
};

}  // namespace

std::vector<TensorInfo> parse_torch_zip(Bytes file, std::string_view source) {
  return Archive(file, source).tensors();
}

}  // namespace lancet
