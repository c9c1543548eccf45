#include "formats/tensor_stages.h"

#include <algorithm>
#include <memory>
#include <span>
#include <utility>

#include "core/error.h"
#include "core/parallel.h"
#include "formats/names/name_map.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

using Emit = std::function<void(Bytes)>;

/// Elements decoded or encoded by one thread at a time; a multiple of every block size.
constexpr std::uint64_t kChunk = 1U << 16;
/// Elements of a conversion block.
constexpr std::uint64_t kBlock = kStageBytes / sizeof(float);

/// Cuts a stream of bytes into groups of `size` bytes; the last one may be shorter.
class Regroup {
 public:
  Regroup(std::uint64_t size, Emit group) : size_(size), group_(std::move(group)) {}

  void push(Bytes bytes) {
    while (!bytes.empty()) {
      if (pending_.empty() && bytes.size() >= size_) {
        group_(bytes.first(size_));
        bytes = bytes.subspan(size_);
        continue;
      }
      const std::uint64_t take = std::min<std::uint64_t>(bytes.size(), size_ - pending_.size());
      pending_.insert(pending_.end(), bytes.begin(),
                      bytes.begin() + static_cast<std::ptrdiff_t>(take));
      bytes = bytes.subspan(take);
      if (pending_.size() == size_) finish();
    }
  }
  void finish() {
    if (!pending_.empty()) group_(pending_);
    pending_.clear();
  }

 private:
  std::uint64_t size_;
  Emit group_;
  std::vector<std::byte> pending_;
};

std::uint64_t row_bytes(const OutputTensor& tensor) {
  std::uint64_t width = 1;
  for (std::size_t i = 1; i < tensor.shape.size(); ++i)
    width *= static_cast<std::uint64_t>(tensor.shape[i]);
  const auto bytes = dtype_bytes(tensor.dtype, width);
  if (!bytes)
    fail(ErrorKind::kInternal, "model", "rows of '" + tensor.name + "' do not fill bytes");
  return *bytes;
}

void convert_block(DType from, Bytes in, DType to, std::vector<float>& values,
                   std::vector<std::byte>& out, const Emit& emit) {
  const DTypeInfo& info = dtype_info(from);
  const std::uint64_t elements = in.size() * 8 / info.block_bits * info.block;
  values.resize(elements);
  parallel::for_chunks(elements, kChunk, [&](std::size_t begin, std::size_t end) {
    const std::uint64_t at = dtype_bytes(from, begin).value();
    decode_f32(from, in.subspan(at, dtype_bytes(from, end).value() - at),
               std::span(values).subspan(begin, end - begin));
  });
  if (to == DType::kF32) {
    emit(std::as_bytes(std::span(values)));
    return;
  }
  out.resize(dtype_bytes(to, elements).value());
  encode_parallel(to, values, out);
  emit(out);
}

}  // namespace

void encode_parallel(DType dtype, std::span<const float> in, std::span<std::byte> out) {
  parallel::for_chunks(in.size(), kChunk, [&](std::size_t begin, std::size_t end) {
    const std::uint64_t at = dtype_bytes(dtype, begin).value();
    encode_f32(dtype, in.subspan(begin, end - begin),
               out.subspan(at, dtype_bytes(dtype, end).value() - at));
  });
}

OutputTensor permute_rows_to_gguf(OutputTensor tensor, std::int64_t head_dim) {
  const std::uint64_t row = row_bytes(tensor);
  const std::uint64_t head = row * static_cast<std::uint64_t>(head_dim);
  tensor.write = [write = std::move(tensor.write), row, head, head_dim](const Emit& emit) {
    std::vector<std::byte> permuted(head);
    Regroup heads(head, [&](Bytes group) {
      for (std::int64_t r = 0; r < head_dim; ++r) {
        const auto from = group.subspan(static_cast<std::uint64_t>(r) * row, row);
        std::ranges::copy(
            from, permuted.begin() + gguf_row(r, head_dim) * static_cast<std::int64_t>(row));
      }
      emit(permuted);
    });
    write([&](Bytes bytes) { heads.push(bytes); });
  };
  return tensor;
}

namespace {

/// Hands the whole tensor to `change`, which fills the same number of bytes.
OutputTensor changed_whole(OutputTensor tensor,
                           std::function<void(Bytes in, std::span<std::byte> out)> change) {
  tensor.write = [write = std::move(tensor.write), change = std::move(change)](const Emit& emit) {
    std::vector<std::byte> all;
    write([&](Bytes bytes) { all.insert(all.end(), bytes.begin(), bytes.end()); });
    std::vector<std::byte> out(all.size());
    change(all, out);
    emit(out);
  };
  return tensor;
}

}  // namespace

OutputTensor reorder_rows(OutputTensor tensor, std::function<std::int64_t(std::int64_t)> to_row) {
  const std::uint64_t row = row_bytes(tensor);
  const std::int64_t rows = tensor.shape.at(0);
  return changed_whole(std::move(tensor),
                       [row, rows, to_row = std::move(to_row)](Bytes in, std::span<std::byte> out) {
                         for (std::int64_t r = 0; r < rows; ++r) {
                           const auto to = static_cast<std::uint64_t>(to_row(r)) * row;
                           std::ranges::copy(in.subspan(static_cast<std::uint64_t>(r) * row, row),
                                             out.subspan(to, row).begin());
                         }
                       });
}

OutputTensor transpose_matrix(OutputTensor tensor) {
  const DTypeInfo& info = dtype_info(tensor.dtype);
  if (tensor.shape.size() != 2 || info.block != 1 || info.block_bits % 8 != 0)
    fail(ErrorKind::kInternal, "model", "expected a plain matrix to transpose: " + tensor.name);
  const std::uint64_t size = info.block_bits / 8;
  const auto rows = static_cast<std::uint64_t>(tensor.shape[0]);
  const auto columns = static_cast<std::uint64_t>(tensor.shape[1]);
  std::swap(tensor.shape[0], tensor.shape[1]);
  return changed_whole(std::move(tensor), [=](Bytes in, std::span<std::byte> out) {
    for (std::uint64_t r = 0; r < rows; ++r) {
      for (std::uint64_t c = 0; c < columns; ++c)
        std::ranges::copy(in.subspan((r * columns + c) * size, size),
                          out.subspan((c * rows + r) * size, size).begin());
    }
  });
}

OutputTensor split_latent(OutputTensor tensor, std::int64_t heads, std::int64_t keys, bool values) {
  const DTypeInfo& info = dtype_info(tensor.dtype);
  const std::int64_t rows = tensor.shape.empty() ? 0 : tensor.shape[0] / heads;
  if (tensor.shape.size() != 2 || tensor.shape[0] % heads != 0 || rows <= keys || info.block != 1 ||
      info.block_bits % 8 != 0)
    fail(ErrorKind::kMismatch, "gguf",
         "tensor '" + tensor.name + "': expected a plain matrix with rows for keys and values");
  const std::int64_t rank = tensor.shape[1];
  const std::uint64_t size = info.block_bits / 8, row = static_cast<std::uint64_t>(rank) * size;
  const auto kept = static_cast<std::uint64_t>(keys), all = static_cast<std::uint64_t>(rows);
  tensor.shape = values ? std::vector{heads, rows - keys, rank} : std::vector{heads, rank, keys};
  tensor.write = [=, write = std::move(tensor.write)](const Emit& emit) {
    std::vector<std::byte> turned(kept * row);
    Regroup one_head(all * row, [&](Bytes head) {
      if (values) return emit(head.subspan(kept * row));
      for (std::uint64_t r = 0; r < kept; ++r) {
        for (std::uint64_t c = 0; c < row / size; ++c)
          std::copy_n(head.data() + r * row + c * size, size,
                      turned.data() + (c * kept + r) * size);
      }
      emit(turned);
    });
    write([&](Bytes bytes) { one_head.push(bytes); });
  };
  return tensor;
}

OutputTensor turn_experts(OutputTensor tensor, std::int64_t parts, std::int64_t part) {
  const DTypeInfo& info = dtype_info(tensor.dtype);
  const bool stack = tensor.shape.size() == 3;
  if ((!stack && tensor.shape.size() != 2) || tensor.shape.back() % parts != 0 || info.block != 1 ||
      info.block_bits % 8 != 0)
    fail(ErrorKind::kMismatch, "gguf",
         "tensor '" + tensor.name + "': expected a plain stack of experts");
  const std::uint64_t size = info.block_bits / 8;
  const auto width = static_cast<std::uint64_t>(tensor.shape.back());
  const auto rows = stack ? static_cast<std::uint64_t>(tensor.shape[1]) : 1;
  const auto step = static_cast<std::uint64_t>(parts), first = static_cast<std::uint64_t>(part);
  tensor.shape.back() /= parts;
  if (stack) std::swap(tensor.shape[1], tensor.shape[2]);
  tensor.write = [=, write = std::move(tensor.write)](const Emit& emit) {
    std::vector<std::byte> turned(rows * (width / step) * size);
    Regroup experts(rows * width * size, [&](Bytes expert) {
      std::byte* to = turned.data();
      for (std::uint64_t column = first; column < width; column += step) {
        for (std::uint64_t row = 0; row < rows; ++row, to += size)
          std::copy_n(expert.data() + (row * width + column) * size, size, to);
      }
      emit(turned);
    });
    write([&](Bytes bytes) { experts.push(bytes); });
  };
  return tensor;
}

OutputTensor change_values(OutputTensor tensor, std::function<float(float)> change) {
  if (tensor.dtype != DType::kF32)
    fail(ErrorKind::kInternal, "model", "expected float32 to change: " + tensor.name);
  return changed_whole(std::move(tensor),
                       [change = std::move(change)](Bytes in, std::span<std::byte> out) {
                         std::vector<float> values(in.size() / sizeof(float));
                         decode_f32(DType::kF32, in, values);
                         std::ranges::transform(values, values.begin(), change);
                         std::ranges::copy(std::as_bytes(std::span(values)), out.begin());
                       });
}

OutputTensor stack_tensors(std::vector<OutputTensor> parts) {
  OutputTensor out{parts.front().name, parts.front().dtype, parts.front().shape, {}};
  for (const OutputTensor& part : parts) {
    if (part.shape != out.shape || part.dtype != out.dtype) {
      fail(ErrorKind::kMismatch, "gguf",
           "expected experts of one shape and dtype, found '" + part.name + "' beside others");
    }
  }
  out.shape.insert(out.shape.begin(), static_cast<std::int64_t>(parts.size()));
  out.write = [parts = std::move(parts)](const Emit& emit) {
    for (const OutputTensor& part : parts) part.write(emit);
  };
  return out;
}

OutputTensor convert_values(OutputTensor tensor, DType dtype) {
  if (tensor.dtype == dtype) return tensor;
  const DType from = tensor.dtype;
  tensor.write = [write = std::move(tensor.write), from, dtype](const Emit& emit) {
    std::vector<float> values;
    std::vector<std::byte> out;
    Regroup blocks(dtype_bytes(from, kBlock).value(),
                   [&](Bytes block) { convert_block(from, block, dtype, values, out, emit); });
    write([&](Bytes bytes) { blocks.push(bytes); });
    blocks.finish();
  };
  tensor.dtype = dtype;
  return tensor;
}

}  // namespace lancet
