#pragma once
// A checkpoint seen as a Hugging Face model whatever its form: names, shapes and row order as
// transformers has them (GGUF names mapped, the Llama Q/K row permutation undone), config.json
// (built from GGUF metadata where there is none), tokenizer and chat template.

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/json.h"
#include "formats/checkpoint.h"
#include "formats/names/name_map.h"

namespace lancet {

class AdapterOverlay;
class ScaledWeights;
struct GgufSizes;
struct TiedHead;

/// A MODEL of the command line: a path, or MODEL+ADAPTER where no such path exists and what stands
/// before the last fitting '+' does. `adapter` is empty for a model alone.
struct ModelPath {
  fs::path model, adapter;
};
[[nodiscard]] ModelPath split_model_path(const fs::path& text);

/// A file beside the weights that belongs to the model: "config.json", "tokenizer.json".
[[nodiscard]] bool is_side_file(std::string_view name) noexcept;

class ModelSource {
 public:
  /// `model`: any MODEL of the command line. Errors as Checkpoint::open; kMismatch for an
  /// architecture whose GGUF names are not known.
  [[nodiscard]] static ModelSource open(const fs::path& model);
  /// With a PEFT adapter laid over it: names, shapes and values are those of the adapted model.
  /// Tensors that the adapter changes are summed in float64 and rounded once; quantised ones become
  /// F32. A model that ties its head to its embeddings has a head of its own afterwards where the
  /// adapter changes one of them alone.
  [[nodiscard]] static ModelSource open(const fs::path& model, const fs::path& adapter);
  /// What was laid over the model, or null.
  [[nodiscard]] const AdapterOverlay* overlay() const noexcept { return overlay_.get(); }

  [[nodiscard]] const Checkpoint& checkpoint() const noexcept { return *checkpoint_; }
  /// config.json of transformers, without quantization_config where the weights are decoded, and
  /// without tie_word_embeddings where head and embeddings are stored with other values. kInput
  /// when there is none (a lone .safetensors).
  [[nodiscard]] const Json& config() const;
  /// Hugging Face names and shapes; dtype is the stored one (Q4_1, BF16, ...), of weights with
  /// scales the one that config.json names. Sorted by name.
  [[nodiscard]] const std::vector<TensorInfo>& tensors() const noexcept { return tensors_; }
  [[nodiscard]] const TensorInfo* find(std::string_view name) const noexcept;
  [[nodiscard]] const TensorInfo& at(std::string_view name) const;  ///< kMismatch with a suggestion

  /// Rows [row_begin, row_end) of the first dimension (a rank-0/1 tensor counts elements as rows),
  /// decoded to float32 in Hugging Face order. out.size() == rows * elements per row.
  void read_f32(const TensorInfo& tensor, std::int64_t row_begin, std::int64_t row_end,
                std::span<float> out) const;
  /// Elements [begin, begin + out.size()) of a tensor, counted in Hugging Face order: any part of
  /// it, by one thread.
  void read_elements(const TensorInfo& tensor, std::uint64_t begin, std::span<float> out) const;
  /// kMismatch where the weights are quantised in a way that is not decoded here.
  void check_decodable() const;
  /// The same rows as stored bytes (plain dtypes only), in Hugging Face order.
  void read_stored(const TensorInfo& tensor, std::int64_t row_begin, std::int64_t row_end,
                   std::span<std::byte> out) const;
  /// Rows of each head whose stored order differs from transformers' (GGUF's Q and K), or 0 for
  /// stored order.
  [[nodiscard]] std::int64_t permuted_head_dim(const TensorInfo& tensor) const;
  /// Tells the system that stored bytes of a tensor have been used: keeps streaming in bounded
  /// memory.
  void release(const TensorInfo& tensor, std::uint64_t offset, std::uint64_t length) const;
  /// The tensor's bytes where they already are a plain dtype in Hugging Face order (no copy), else
  /// empty.
  [[nodiscard]] Bytes raw(const TensorInfo& tensor) const;
  /// The same of any dtype: ggml's blocks too.
  [[nodiscard]] Bytes in_order(const TensorInfo& tensor) const;
  /// Asks the system to read stored bytes of a tensor ahead of their use.
  void prefetch(const TensorInfo& tensor, std::uint64_t offset, std::uint64_t length) const;

  /// Files of a Hugging Face directory other than weights, by name, as transformers wants them:
  /// config.json, generation_config.json, tokenizer.json, tokenizer_config.json,
  /// special_tokens_map.json, chat_template.jinja, and any other known side file. Made from
  /// metadata for a GGUF.
  [[nodiscard]] std::map<std::string, std::string> side_files() const;
  /// Chat template source, from chat_template.jinja, tokenizer_config.json or GGUF.
  [[nodiscard]] std::optional<std::string> chat_template() const;

 private:
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::optional<Json> config_;
  std::vector<TensorInfo> tensors_;
  /// Where a GGUF keeps what transformers calls a tensor.
  struct Place {
    RowOrder order = RowOrder::kSame;
    std::int64_t head_dim = 0, kv_heads = 0, group = 0;
    ValueMap values = ValueMap::kSame;
    std::shared_ptr<const TensorInfo> second = {};  ///< of kGateUp and kLatentKv

    [[nodiscard]] std::uint64_t stored_row(std::uint64_t row) const noexcept;
  };
  std::vector<Place> places_;  ///< of each tensor; empty = as stored

  std::shared_ptr<const AdapterOverlay> overlay_;
  std::map<std::string, TensorInfo, std::less<>> unadapted_;  ///< as stored, of changed tensors
  std::shared_ptr<const ScaledWeights> scaled_;               ///< null: as the file has them
  bool retold_ = false;           ///< config_ says other things than the file
  std::string undecoded_, hint_;  ///< why weights cannot be read; empty = they can

  void open_gguf();
  [[nodiscard]] std::vector<TensorInfo> as_transformers(const TensorInfo& tensor,
                                                        const MappedName& name) const;
  [[nodiscard]] Place place_of(const TensorInfo& tensor, const MappedName& name,
                               const GgufSizes& sizes) const;
  [[nodiscard]] const Place& place(const TensorInfo& tensor) const;
  void open_quantised();
  void lay_over(const fs::path& adapter);
  void untie(const TiedHead& names);
  void tell_untied();
  void untie_stored();
  [[nodiscard]] bool same_values(const TensorInfo& a, const TensorInfo& b) const;
  [[nodiscard]] const TensorInfo* unadapted(const TensorInfo& tensor) const;
  void read_rows(const TensorInfo& tensor, std::int64_t row_begin, std::int64_t row_end,
                 std::span<float> out) const;
  void read_turned(const TensorInfo& tensor, std::uint64_t begin, std::span<float> out) const;
  void read_latent(const TensorInfo& tensor, std::uint64_t begin, std::span<float> out) const;
  void read_range(const TensorInfo& tensor, std::uint64_t begin, std::span<float> out) const;
  void read_adapted(const TensorInfo& base, std::uint64_t begin, std::span<float> out) const;
  void check_readable(const TensorInfo& tensor, std::int64_t row_begin, std::int64_t row_end,
                      std::uint64_t out_size, std::uint64_t per_row) const;
};

}  // namespace lancet
