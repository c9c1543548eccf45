#include "distill/train/new_adapter.h"

#include <algorithm>
#include <span>
#include <vector>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

constexpr std::int64_t kRows = 1024;  ///< compared at once

/// Whether `stored` holds the values of `own`, rounded to its dtype.
bool same_values(const Adapter& adapter, const TensorInfo& stored, const ModelSource& source,
                 const TensorInfo& own) {
  if (own.shape != stored.shape) return false;
  const std::vector<float> theirs = adapter.values(stored);
  const std::int64_t width = own.shape[1];
  for (std::int64_t first = 0; first < own.shape[0]; first += kRows) {
    const std::int64_t last = std::min(own.shape[0], first + kRows);
    const auto count = static_cast<std::size_t>((last - first) * width);
    std::vector<float> ours(count);
    source.read_f32(own, first, last, ours);
    std::vector<std::byte> rounded(
        static_cast<std::size_t>(dtype_bytes(stored.dtype, count).value()));
    encode_f32(stored.dtype, ours, rounded);
    decode_f32(stored.dtype, rounded, ours);
    const auto* const begin = theirs.data() + first * width;
    if (!std::equal(ours.begin(), ours.end(), begin)) return false;
  }
  return true;
}

void check_copies(const Adapter& adapter, const LoraAdapter& trained, const ModelSource& source) {
  for (const SavedTensor& saved : adapter.saved()) {
    const auto part = std::ranges::find_if(trained.parts(), [&](const auto& each) {
      return saved.name == trained.file_name(*each) + ".weight" ||
             saved.name == each->module + ".weight";
    });
    const TensorInfo* own = part == trained.parts().end() ? nullptr : source.find((*part)->tensor);
    if (own != nullptr && same_values(adapter, *saved.stored, source, *own)) continue;
    fail(ErrorKind::kMismatch, "train",
         fmt::format("{}: expected factors for this model, found '{}' of another one beside them",
                     printable(adapter.path().string(), 400), printable(saved.name)),
         "MODEL+ADAPTER folds the adapter into the base and trains a new one");
  }
}

void check_rates(const TrainRequest& request, const LoraAdapter& adapter) {
  if (request.optimizer.lora_plus == 1) return;
  for (const auto& part : adapter.parts()) {
    if (!part->embedding) continue;
    fail(ErrorKind::kUsage, "train",
         fmt::format("--lora-plus: expected layers that multiply, found the embeddings '{}' among "
                     "the targets",
                     printable(part->module)),
         "LoRA+ says nothing of embeddings (PEFT gives them a rate of their own)");
  }
}

}  // namespace

LoraAdapter new_adapter(const TrainRequest& request, const ModelSource& source,
                        const DecoderSpec& spec, std::uint64_t seed) {
  const auto stored = request.init ? Adapter::open(*request.init) : nullptr;
  LoraAdapter out = stored == nullptr ? LoraAdapter(spec, request.lora, seed)
                                      : LoraAdapter(spec, *stored, request.init_dropout, seed);
  if (stored != nullptr) check_copies(*stored, out, source);
  check_rates(request, out);
  return out;
}

}  // namespace lancet
