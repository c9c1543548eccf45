#include "formats/adapter/overlay.h"

#include <algorithm>
#include <array>
#include <cmath>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/quant/decode.h"

namespace lancet {
namespace {

constexpr std::size_t kRecent = 8;
/// What families of transformers call their token embeddings.
constexpr std::array<std::string_view, 6> kEmbeddings{
    "embed_tokens", "wte", "word_embeddings", "embed_in", "embeddings", "tok_embeddings"};
constexpr std::array<std::string_view, 2> kHeads{"lm_head", "embed_out"};

/// "model.embed_tokens.weight" -> "embed_tokens"; of a module's name its last part.
std::string_view last_part(std::string_view name) {
  if (name.ends_with(".weight")) name.remove_suffix(std::string_view(".weight").size());
  return name.substr(name.rfind('.') + 1);
}

bool is_head(std::string_view name) {
  return std::ranges::find(kHeads, last_part(name)) != kHeads.end();
}

bool is_embedding(std::string_view name) {
  return std::ranges::find(kEmbeddings, last_part(name)) != kEmbeddings.end();
}

const TensorInfo* find_in(const std::vector<TensorInfo>& tensors, std::string_view name) {
  const auto place = std::ranges::lower_bound(
      tensors, name, {}, [](const TensorInfo& t) -> std::string_view { return t.name; });
  return place == tensors.end() || place->name != name ? nullptr : &*place;
}

}  // namespace

std::optional<TiedHead> embedding_and_head(const std::vector<TensorInfo>& tensors) {
  TiedHead out;
  for (const TensorInfo& tensor : tensors) {
    if (!tensor.name.ends_with(".weight") || tensor.shape.size() != 2) continue;
    std::string& name = is_head(tensor.name) ? out.head : out.embedding;
    // A layer of multi-token prediction has an embedding, too.
    if ((is_head(tensor.name) || is_embedding(tensor.name)) &&
        (name.empty() || tensor.name.size() < name.size()))
      name = tensor.name;
  }
  if (out.embedding.empty() || out.head.empty()) return std::nullopt;
  return out;
}

std::optional<TiedHead> head_to_untie(const Adapter& adapter,
                                      const std::vector<TensorInfo>& tensors) {
  const TensorInfo* embedding = nullptr;
  for (const TensorInfo& tensor : tensors) {
    if (!tensor.name.ends_with(".weight")) continue;
    if (is_head(tensor.name)) return std::nullopt;
    if (tensor.shape.size() == 2 && is_embedding(tensor.name)) embedding = &tensor;
  }
  if (embedding == nullptr) return std::nullopt;
  const bool tied =
      json_bool(adapter.config(), "ensure_weight_tying", "adapter_config.json", false);
  bool own_head = false, own_embedding = false;
  for (const LoraModule& module : adapter.modules()) {
    own_head = own_head || is_head(module.name);
    own_embedding = own_embedding || (!tied && module.kind == LoraModule::Kind::kEmbedding &&
                                      is_embedding(module.name));
  }
  for (const SavedTensor& saved : adapter.saved()) {
    // With more rows (new tokens) both are the larger one; what PEFT copies from the base changes
    // nothing by itself.
    if (saved.of_base || saved.stored->shape != embedding->shape) continue;
    own_head = own_head || is_head(saved.name);
    own_embedding = own_embedding || (!tied && is_embedding(saved.name));
  }
  if (!own_head && !own_embedding) return std::nullopt;
  const std::string& name = embedding->name;
  const std::string head = last_part(name) == "embed_in" ? "embed_out.weight" : "lm_head.weight";
  return TiedHead{name,
                  name.starts_with("language_model.model.") ? "language_model." + head : head};
}

AdapterOverlay::AdapterOverlay(std::shared_ptr<const Adapter> adapter,
                               const std::vector<TensorInfo>& tensors,
                               const std::optional<TiedHead>& untied)
    : adapter_(std::move(adapter)) {
  const TensorInfo* base = nullptr;  // of both, where it came with the adapter
  for (const SavedTensor& saved : adapter_->saved()) {
    const std::string name = land(saved.name, tensors);
    const TensorInfo& own = *find_in(tensors, name);
    // Rows may have been added (new tokens); everything else must fit.
    const bool fits =
        own.shape == saved.stored->shape ||
        (own.shape.size() == 2 && saved.stored->shape.size() == 2 &&
         own.shape[1] == saved.stored->shape[1] && own.shape[0] < saved.stored->shape[0]);
    if (!fits)
      fail(ErrorKind::kMismatch, "adapter",
           fmt::format("{}: tensor '{}': expected the shape [{}] in the model, found [{}]",
                       printable(adapter_->path().string(), 400), printable(saved.name),
                       fmt::join(saved.stored->shape, ", "), fmt::join(own.shape, ", ")),
           "the adapter was made for another model");
    landed_[saved.name] = name;
    changes_[name].saved = saved.stored;
    if (saved.of_base && saved.stored->shape.size() == 2) base = saved.stored;
  }
  if (untied && base != nullptr) {
    for (const std::string& name : {untied->embedding, untied->head}) {
      Change& change = changes_[name];
      if (change.saved == nullptr) change.saved = base;
    }
  }
  // After what is saved: an adapted embedding may stand in the adapter whole, under its factors.
  for (const LoraModule& module : adapter_->modules()) add_module(module, tensors);
  turn_like_others();
}

/// The name in the model: as it stands, or with or without the outermost module's name.
std::string AdapterOverlay::land(const std::string& name,
                                 const std::vector<TensorInfo>& tensors) const {
  std::vector<std::string> candidates{name};
  for (const std::string prefix : {"model.", "transformer.", "gpt_neox."}) {
    candidates.push_back(prefix + name);
    if (name.starts_with(prefix)) candidates.push_back(name.substr(prefix.size()));
  }
  for (const std::string& candidate : candidates) {
    if (find_in(tensors, candidate) != nullptr) return candidate;
  }
  std::vector<std::string_view> known;
  known.reserve(tensors.size());
  for (const TensorInfo& tensor : tensors) known.push_back(tensor.name);
  fail(ErrorKind::kMismatch, "adapter",
       fmt::format("{}: expected the tensor '{}' in the model, found none",
                   printable(adapter_->path().string(), 400), printable(name)),
       is_head(name) ? "the model ties its head to its embedding: write it with a head first"
                     : did_you_mean(name, known));
}

void AdapterOverlay::add_module(const LoraModule& module, const std::vector<TensorInfo>& tensors) {
  const std::string name = land(module.name + ".weight", tensors);
  const TensorInfo& own = *find_in(tensors, name);
  using Kind = LoraModule::Kind;
  const auto shape_as = [&](Kind kind) {
    return kind == Kind::kLinear
               ? std::vector<std::int64_t>{module.b->shape[0], module.a->shape[1]}
               : std::vector<std::int64_t>{module.a->shape[1], module.b->shape[0]};
  };
  Change& change = changes_[name];
  const auto& shape = change.saved != nullptr ? change.saved->shape : own.shape;
  change.kind = module.kind;
  // PEFT's fan_in_fan_out says how the last module lay to which it gave factors: a GPT-2's head
  // lies otherwise than its blocks.
  if (module.kind != Kind::kEmbedding && shape != shape_as(module.kind)) {
    const Kind other = module.kind == Kind::kLinear ? Kind::kTransposed : Kind::kLinear;
    if (shape == shape_as(other)) change.kind = other;
  }
  const std::vector<std::int64_t> needed = shape_as(change.kind);
  if (shape != needed) {
    fail(ErrorKind::kMismatch, "adapter",
         fmt::format("{}: module '{}': expected the shape [{}] in the model, found [{}]",
                     printable(adapter_->path().string(), 400), printable(module.name),
                     fmt::join(needed, ", "), fmt::join(shape, ", ")),
         "the adapter was made for another model");
  }
  landed_[module.name] = name;
  change.module = &module;
}

/// Square matrices of blocks lie as the others do.
void AdapterOverlay::turn_like_others() {
  std::optional<LoraModule::Kind> proven;
  for (const auto& [name, change] : changes_) {
    if (change.module == nullptr || change.kind == LoraModule::Kind::kEmbedding || is_head(name))
      continue;
    if (change.module->a->shape[1] != change.module->b->shape[0]) proven = change.kind;
  }
  if (!proven) return;
  for (auto& [name, change] : changes_) {
    const bool square = change.module != nullptr && !is_head(name) &&
                        change.kind != LoraModule::Kind::kEmbedding &&
                        change.module->a->shape[1] == change.module->b->shape[0];
    if (square) change.kind = *proven;
  }
}

const AdapterOverlay::Change* AdapterOverlay::find(std::string_view tensor) const {
  const auto found = changes_.find(tensor);
  return found == changes_.end() ? nullptr : &found->second;
}

const TensorInfo* AdapterOverlay::replacement(std::string_view tensor) const {
  const Change* change = find(tensor);
  return change == nullptr ? nullptr : change->saved;
}

void AdapterOverlay::read_replacement(std::string_view tensor, std::int64_t begin, std::int64_t end,
                                      std::span<float> out) const {
  const TensorInfo& stored = *replacement(tensor);
  if (begin == end) return;
  const std::uint64_t width = out.size() / static_cast<std::uint64_t>(end - begin);
  const std::uint64_t from =
      dtype_bytes(stored.dtype, static_cast<std::uint64_t>(begin) * width).value();
  const std::uint64_t size = dtype_bytes(stored.dtype, out.size()).value();
  decode_f32(stored.dtype, adapter_->checkpoint().data(stored).subspan(from, size), out);
}

std::shared_ptr<const AdapterOverlay::Factors> AdapterOverlay::factors(const Change& change) const {
  const LoraModule& module = *change.module;
  const std::lock_guard lock(mutex_);
  const auto found =
      std::ranges::find_if(recent_, [&](const auto& each) { return each.first == &module; });
  if (found != recent_.end()) {
    std::rotate(recent_.begin(), found, found + 1);
    return recent_.front().second;
  }
  auto out = std::make_shared<Factors>();
  const bool linear = change.kind == LoraModule::Kind::kLinear;
  out->rank = static_cast<std::size_t>(module.rank);
  out->scale = module.scale;
  if (linear) {
    out->left = adapter_->values(*module.b);
    out->right = adapter_->values(*module.a);
  } else {
    // Rows of (B A)^T: A^T [rows, r] times B^T [r, columns].
    out->left = adapter_->values(*module.a);
    out->left_by_rank = true;
    const std::vector<float> b = adapter_->values(*module.b);
    out->right.resize(b.size());
    const auto columns = static_cast<std::size_t>(module.b->shape[0]);
    for (std::size_t c = 0; c < columns; ++c) {
      for (std::size_t k = 0; k < out->rank; ++k)
        out->right[k * columns + c] = b[c * out->rank + k];
    }
  }
  out->columns = out->right.size() / out->rank;
  if (module.magnitude != nullptr) out->magnitude = adapter_->values(*module.magnitude);
  recent_.insert(recent_.begin(), {&module, out});
  if (recent_.size() > kRecent) recent_.pop_back();
  return out;
}

/// sum = a row of W + s B A.
template <typename T>
void AdapterOverlay::add_product(const Factors& f, std::size_t row, std::span<const T> own,
                                 std::span<double> sum) {
  const std::size_t all_rows = f.left.size() / f.rank;
  std::ranges::fill(sum, 0.0);
  for (std::size_t k = 0; k < f.rank; ++k) {
    const double factor =
        static_cast<double>(f.left_by_rank ? f.left[k * all_rows + row] : f.left[row * f.rank + k]);
    const float* right = f.right.data() + k * sum.size();
    for (std::size_t c = 0; c < sum.size(); ++c) sum[c] += factor * static_cast<double>(right[c]);
  }
  for (std::size_t c = 0; c < sum.size(); ++c)
    sum[c] = static_cast<double>(own[c]) + f.scale * sum[c];
}

const std::vector<double>* AdapterOverlay::columns_of(const Change& change) const {
  if (change.module->magnitude == nullptr || change.kind == LoraModule::Kind::kLinear)
    return nullptr;
  const std::lock_guard lock(looking_);
  const auto found = columns_.find(change.module);
  if (found == columns_.end())
    fail(ErrorKind::kInternal, "adapter", "columns whose lengths nobody has looked at");
  return &found->second;
}

void AdapterOverlay::look(std::string_view tensor, std::int64_t rows, std::int64_t width,
                          const ReadRows& read) const {
  const Change* change = find(tensor);
  if (change == nullptr || change->module == nullptr) return;
  const LoraModule& module = *change->module;
  if (module.magnitude == nullptr || change->kind == LoraModule::Kind::kLinear) return;
  const std::lock_guard lock(looking_);
  if (columns_.contains(&module)) return;
  const auto f = factors(*change);
  const auto columns = static_cast<std::size_t>(width);
  std::vector<double> by(columns), sum(columns);
  std::vector<float> part(columns);
  for (std::int64_t row = 0; row < rows; ++row) {
    read(row, row + 1, part);
    add_product<float>(*f, static_cast<std::size_t>(row), part, sum);
    for (std::size_t c = 0; c < columns; ++c) by[c] += sum[c] * sum[c];
  }
  for (std::size_t c = 0; c < columns; ++c)
    by[c] = by[c] == 0 ? 1.0 : static_cast<double>(f->magnitude[c]) / std::sqrt(by[c]);
  columns_.emplace(&module, std::move(by));
}

void AdapterOverlay::apply(std::string_view tensor, std::int64_t begin, std::int64_t width,
                           std::span<float> rows) const {
  change_rows(tensor, begin, width, rows);
}

void AdapterOverlay::apply(std::string_view tensor, std::int64_t begin, std::int64_t width,
                           std::span<double> rows) const {
  change_rows(tensor, begin, width, rows);
}

template <typename T>
void AdapterOverlay::change_rows(std::string_view tensor, std::int64_t begin, std::int64_t width,
                                 std::span<T> rows) const {
  const Change* change = find(tensor);
  if (change == nullptr || change->module == nullptr || rows.empty()) return;
  const auto f = factors(*change);
  const std::vector<double>* by_column = columns_of(*change);
  const auto columns = static_cast<std::size_t>(width);
  std::vector<double> sum(columns);
  for (std::size_t r = 0; r * columns < rows.size(); ++r) {
    const std::size_t row = static_cast<std::size_t>(begin) + r;
    const std::span<T> own = rows.subspan(r * columns, columns);
    add_product<T>(*f, row, own, sum);
    if (by_column != nullptr) {
      for (std::size_t c = 0; c < columns; ++c) own[c] = static_cast<T>((*by_column)[c] * sum[c]);
      continue;
    }
    double norm = 0;
    for (const double value : sum) norm += value * value;
    const double factor = f->magnitude.empty() || norm == 0
                              ? 1.0
                              : static_cast<double>(f->magnitude[row]) / std::sqrt(norm);
    for (std::size_t c = 0; c < columns; ++c) own[c] = static_cast<T>(factor * sum[c]);
  }
}

}  // namespace lancet
