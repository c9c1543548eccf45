#pragma once
// An adapter laid over a model: which of the model's tensors it changes, proven at construction,
// and their changed rows. W + s B A is summed in float64 and rounded once to float32, or
// not at all.

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "formats/adapter/peft.h"

namespace lancet {

/// Tensors of embeddings and head that a model stores as one.
struct TiedHead {
  std::string embedding, head;  ///< "model.embed_tokens.weight", "lm_head.weight"
};
/// Those of a model that stores both; nothing where it doesn't.
[[nodiscard]] std::optional<TiedHead> embedding_and_head(const std::vector<TensorInfo>& tensors);
/// Those of a model that has no tensor of its own for its head, where the adapter changes one of
/// the two alone, or both by different factors: base and adapter then are a model that ties them no
/// more (PEFT adds factors to either module, and they share what lies under them).
[[nodiscard]] std::optional<TiedHead> head_to_untie(const Adapter& adapter,
                                                    const std::vector<TensorInfo>& tensors);

class AdapterOverlay {
 public:
  /// Every key of the adapter must land on one of `tensors` (sorted by name) and fit its shape:
  /// kMismatch naming what does not, with a suggestion. `untied`: among `tensors`, both with the
  /// values of the one that the model has.
  AdapterOverlay(std::shared_ptr<const Adapter> adapter, const std::vector<TensorInfo>& tensors,
                 const std::optional<TiedHead>& untied = std::nullopt);

  [[nodiscard]] const Adapter& adapter() const noexcept { return *adapter_; }
  [[nodiscard]] bool changes(std::string_view tensor) const { return find(tensor) != nullptr; }
  /// The tensor that stands in the adapter instead of the model's, or null.
  [[nodiscard]] const TensorInfo* replacement(std::string_view tensor) const;
  /// Rows [begin, end) of a replaced tensor.
  void read_replacement(std::string_view tensor, std::int64_t begin, std::int64_t end,
                        std::span<float> out) const;
  /// Reads rows [begin, end) of the model's own tensor, on the calling thread alone.
  using ReadRows = std::function<void(std::int64_t begin, std::int64_t end, std::span<float> out)>;
  /// Before apply() to a tensor of [rows, width]: what depends on all of its rows, read once (DoRA
  /// on embeddings and on a matrix that lies as [d_in, d_out]: the lengths of its columns).
  /// Thread-safe.
  void look(std::string_view tensor, std::int64_t rows, std::int64_t width,
            const ReadRows& read) const;
  /// `rows`: rows [begin, ...) of the model's tensor, changed in place. Thread-safe.
  void apply(std::string_view tensor, std::int64_t begin, std::int64_t width,
             std::span<float> rows) const;
  /// The same without the rounding to float32.
  void apply(std::string_view tensor, std::int64_t begin, std::int64_t width,
             std::span<double> rows) const;
  /// {module or key -> tensor of the model}, for reports.
  [[nodiscard]] const std::map<std::string, std::string>& landed() const noexcept {
    return landed_;
  }

 private:
  /// The change of one tensor: left [rows, rank] (scale in it) times right [rank, columns].
  struct Factors {
    std::vector<float> left, right, magnitude;
    std::size_t rank = 0, columns = 0;
    double scale = 1;
    bool left_by_rank = false;  ///< left is stored [rank, rows]
  };
  struct Change {
    const TensorInfo* saved = nullptr;                  ///< instead of the model's, then
    const LoraModule* module = nullptr;                 ///< its product added
    LoraModule::Kind kind = LoraModule::Kind::kLinear;  ///< as the matrix lies in the model
  };
  std::shared_ptr<const Adapter> adapter_;
  std::map<std::string, Change, std::less<>> changes_;
  std::map<std::string, std::string> landed_;
  mutable std::mutex mutex_;
  /// Factors decoded last, the newest in front.
  mutable std::vector<std::pair<const LoraModule*, std::shared_ptr<const Factors>>> recent_;
  mutable std::mutex looking_;
  /// What each column is multiplied by, of modules that were looked at.
  mutable std::map<const LoraModule*, std::vector<double>> columns_;

  [[nodiscard]] const Change* find(std::string_view tensor) const;
  [[nodiscard]] std::string land(const std::string& name,
                                 const std::vector<TensorInfo>& tensors) const;
  void add_module(const LoraModule& module, const std::vector<TensorInfo>& tensors);
  void turn_like_others();
  [[nodiscard]] std::shared_ptr<const Factors> factors(const Change& change) const;
  [[nodiscard]] const std::vector<double>* columns_of(const Change& change) const;
  template <typename T>
  static void add_product(const Factors& f, std::size_t row, std::span<const T> own,
                          std::span<double> sum);
  template <typename T>
  void change_rows(std::string_view tensor, std::int64_t begin, std::int64_t width,
                   std::span<T> rows) const;
};

}  // namespace lancet
