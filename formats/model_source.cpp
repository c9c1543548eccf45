#include "formats/model_source.h"

#include <algorithm>
#include <array>
#include <numeric>

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "core/text.h"
#include "formats/adapter/overlay.h"
#include "formats/chat_templates.h"
#include "formats/config/from_gguf.h"
#include "formats/config/hf_config.h"
#include "formats/model_source_parts.h"
#include "formats/quant/decode.h"
#include "formats/quant/scaled_weights.h"

namespace lancet {
namespace {

constexpr std::string_view kOperation = "model";
constexpr std::uint64_t kChunkElements = 1U << 16;  ///< decoded by one thread at a time

/// Files beside the weights that belong to the model. Never code (*.py).
constexpr std::array<std::string_view, 23> kSideFiles = {"config.json",
                                                         "generation_config.json",
                                                         "tokenizer.json",
                                                         "tokenizer_config.json",
                                                         "special_tokens_map.json",
                                                         "chat_template.jinja",
                                                         "chat_template.json",
                                                         "added_tokens.json",
                                                         "vocab.json",
                                                         "merges.txt",
                                                         "vocab.txt",
                                                         "tokenizer.model",
                                                         "spiece.model",
                                                         "sentencepiece.bpe.model",
                                                         "tiktoken.model",
                                                         "spm.model",
                                                         "tokenizer.tiktoken",
                                                         "qwen.tiktoken",
                                                         "preprocessor_config.json",
                                                         "processor_config.json",
                                                         "LICENSE",
                                                         "LICENSE.txt",
                                                         "NOTICE"};

std::string shown(const Checkpoint& checkpoint) {
  return printable(checkpoint.path().string(), 400);
}

Json parse_config(const Checkpoint& checkpoint, const std::string& text) {
  Json config = parse_hf_config(text, (checkpoint.path() / "config.json").string());
  if (!config.is_object()) {
    fail(ErrorKind::kInput, kOperation,
         fmt::format("{}/config.json: expected an object at byte 0", shown(checkpoint)));
  }
  return config;
}

}  // namespace

bool is_side_file(std::string_view name) noexcept {
  return std::ranges::find(kSideFiles, name) != kSideFiles.end() || template_name(name).has_value();
}

ModelPath split_model_path(const fs::path& text) {
  std::error_code ignored;
  if (fs::exists(text, ignored)) return {text, {}};
  const std::string all = text.string();
  for (std::size_t at = all.rfind('+'); at != std::string::npos && at > 0;
       at = all.rfind('+', at - 1)) {
    if (fs::exists(all.substr(0, at), ignored)) return {all.substr(0, at), all.substr(at + 1)};
  }
  return {text, {}};
}

ModelSource ModelSource::open(const fs::path& text) {
  const ModelPath path = split_model_path(text);
  return open(path.model, path.adapter);
}

ModelSource ModelSource::open(const fs::path& model, const fs::path& adapter) {
  ModelSource source;
  source.checkpoint_ = Checkpoint::open(model);
  if (source.checkpoint_->gguf() != nullptr) {
    source.open_gguf();
  } else {
    source.tensors_ = source.checkpoint_->tensors();
    std::ranges::sort(source.tensors_, {}, &TensorInfo::name);
    if (const auto text = source.checkpoint_->side_file("config.json")) {
      source.config_ = parse_config(*source.checkpoint_, *text);
      source.open_quantised();
    }
  }
  if (!adapter.empty()) source.lay_over(adapter);
  source.untie_stored();
  return source;
}

/// What is not decoded here is said when weights are read: headers can be looked at all the same.
void ModelSource::open_quantised() {
  const auto found = config_->find("quantization_config");
  if (found == config_->end() || found->is_null()) return;
  try {
    scaled_ = ScaledWeights::open(checkpoint_, *config_);
  } catch (const Error& error) {
    if (error.kind() != ErrorKind::kMismatch) throw;
    undecoded_ = fmt::format("{}: {}", shown(*checkpoint_), error.message());
    hint_ = error.hint();
    return;
  }
  tensors_ = scaled_->tensors();
  config_->erase("quantization_config");
}

/// A tensor more, with the values of the embeddings.
void ModelSource::untie(const TiedHead& names) {
  const TensorInfo* embedding = find(names.embedding);
  if (scaled_ && scaled_->decodes(names.embedding)) {
    fail(ErrorKind::kMismatch, kOperation,
         fmt::format("{}: expected plain embeddings under an adapter that unties them from the "
                     "head, found quantised ones",
                     shown(*checkpoint_)),
         "lancet convert writes the model with plain ones");
  }
  TensorInfo head = *embedding;
  const Place own = place(*embedding);
  head.name = names.head;
  const auto at = std::ranges::lower_bound(tensors_, head.name, {}, &TensorInfo::name);
  if (!places_.empty()) places_.insert(places_.begin() + (at - tensors_.begin()), own);
  tensors_.insert(at, std::move(head));
  tell_untied();
}

void ModelSource::tell_untied() {
  if (!config_) return;
  (*config_)["tie_word_embeddings"] = false;
  if (const auto text = config_->find("text_config"); text != config_->end() && text->is_object())
    (*text)["tie_word_embeddings"] = false;
}

bool ModelSource::same_values(const TensorInfo& a, const TensorInfo& b) const {
  if (a.shape != b.shape) return false;
  if (const Bytes one = raw(a), other = raw(b); !one.empty() && a.dtype == b.dtype) {
    // Two names of one storage are not read.
    if (one.data() == other.data() || std::ranges::equal(one, other)) return true;
  }
  constexpr std::int64_t kRows = 256;
  const std::uint64_t width = rows_of(a).width;
  std::vector<float> one, other;
  for (std::int64_t row = 0; row < a.shape[0]; row += kRows) {
    const std::int64_t end = std::min(row + kRows, a.shape[0]);
    one.resize(static_cast<std::uint64_t>(end - row) * width);
    other.resize(one.size());
    read_f32(a, row, end, one);
    read_f32(b, row, end, other);
    if (one != other) return false;
  }
  return true;
}

/// A config that ties head and embeddings although they are stored with other values: as in
/// transformers since 5, the weights are right.
void ModelSource::untie_stored() {
  if (!config_ || !undecoded_.empty()) return;
  const auto says_tied = [](const Json& config) {
    const auto said = config.find("tie_word_embeddings");
    return said != config.end() && *said == true;
  };
  const auto text = config_->find("text_config");
  if (!says_tied(*config_) && (text == config_->end() || !text->is_object() || !says_tied(*text)))
    return;
  const auto names = embedding_and_head(tensors_);
  if (!names || same_values(at(names->embedding), at(names->head))) return;
  log::warn(fmt::format(
      "{}: tie_word_embeddings is true, but '{}' and '{}' have other values: they are not tied",
      shown(*checkpoint_), printable(names->head), printable(names->embedding)));
  tell_untied();
  retold_ = true;
}

void ModelSource::lay_over(const fs::path& adapter) {
  auto opened = Adapter::open(adapter);
  const std::optional<TiedHead> untied = config_ ? head_to_untie(*opened, tensors_) : std::nullopt;
  if (untied) untie(*untied);
  overlay_ = std::make_shared<AdapterOverlay>(std::move(opened), tensors_, untied);
  for (TensorInfo& tensor : tensors_) {
    if (!overlay_->changes(tensor.name)) continue;
    unadapted_.emplace(tensor.name, tensor);
    const TensorInfo* stored = overlay_->replacement(tensor.name);
    const bool plain = dtype_info(tensor.dtype).floating && !dtype_info(tensor.dtype).quantized &&
                       dtype_info(tensor.dtype).block_bits >= 16;
    if (!plain) tensor.dtype = DType::kF32;
    if (stored == nullptr) continue;
    const bool rows_of_tokens = config_ && config_->contains("vocab_size") &&
                                tensor.shape.size() == 2 &&
                                (*config_)["vocab_size"] == tensor.shape[0];
    if (rows_of_tokens) (*config_)["vocab_size"] = stored->shape[0];
    tensor.shape = stored->shape;
  }
  for (TensorInfo& tensor : tensors_) {
    if (unadapted(tensor) != nullptr)
      tensor.bytes = dtype_bytes(tensor.dtype, tensor.elements()).value();
  }
}

const TensorInfo* ModelSource::unadapted(const TensorInfo& tensor) const {
  const auto found = unadapted_.find(tensor.name);
  return found == unadapted_.end() ? nullptr : &found->second;
}

/// Elements [begin, begin + out.size()) of a tensor that the adapter changes.
void ModelSource::read_adapted(const TensorInfo& base, std::uint64_t begin,
                               std::span<float> out) const {
  const std::uint64_t width = rows_of(*find(base.name)).width;
  const std::uint64_t first = begin / width;
  const std::uint64_t last = (begin + out.size() + width - 1) / width;
  const bool whole = begin == first * width && out.size() == (last - first) * width;
  std::vector<float> buffer(whole ? 0 : (last - first) * width);
  const std::span<float> rows = whole ? out : std::span(buffer);
  const auto row = [](std::uint64_t r) { return static_cast<std::int64_t>(r); };
  if (overlay_->replacement(base.name) != nullptr) {
    overlay_->read_replacement(base.name, row(first), row(last), rows);
  } else {
    read_rows(base, row(first), row(last), rows);
  }
  overlay_->look(base.name, row(base.elements() / width), row(width),
                 [&](std::int64_t from, std::int64_t, std::span<float> own) {
                   read_range(base, static_cast<std::uint64_t>(from) * width, own);
                 });
  const std::uint64_t grain = std::max<std::uint64_t>(1, kChunkElements / width);
  parallel::for_chunks(last - first, grain, [&](std::size_t a, std::size_t b) {
    overlay_->apply(base.name, row(first + a), row(width),
                    rows.subspan(a * width, (b - a) * width));
  });
  if (!whole) std::ranges::copy(rows.subspan(begin - first * width, out.size()), out.begin());
}

const Json& ModelSource::config() const {
  if (config_) return *config_;
  fail(ErrorKind::kInput, kOperation,
       fmt::format("{}: expected a model with config.json, found weights alone",
                   shown(*checkpoint_)),
       "name the Hugging Face directory instead of the file in it");
}

const TensorInfo* ModelSource::find(std::string_view name) const noexcept {
  const auto place = std::ranges::lower_bound(
      tensors_, name, {}, [](const TensorInfo& t) -> std::string_view { return t.name; });
  return place == tensors_.end() || place->name != name ? nullptr : &*place;
}

const TensorInfo& ModelSource::at(std::string_view name) const {
  if (const TensorInfo* tensor = find(name)) return *tensor;
  std::vector<std::string_view> names(tensors_.size());
  std::ranges::transform(tensors_, names.begin(),
                         [](const TensorInfo& t) -> std::string_view { return t.name; });
  fail(ErrorKind::kMismatch, kOperation,
       fmt::format("{}: expected a tensor '{}', found none", shown(*checkpoint_), printable(name)),
       did_you_mean(name, names));
}

void ModelSource::check_readable(const TensorInfo& tensor, std::int64_t row_begin,
                                 std::int64_t row_end, std::uint64_t out_size,
                                 std::uint64_t per_row) const {
  const TensorRows rows = rows_of(tensor);
  if (row_begin < 0 || row_end < row_begin || static_cast<std::uint64_t>(row_end) > rows.count ||
      out_size != static_cast<std::uint64_t>(row_end - row_begin) * per_row) {
    fail(ErrorKind::kInternal, kOperation,
         fmt::format("rows [{}, {}) of '{}'", row_begin, row_end, printable(tensor.name)));
  }
  check_decodable();
}

void ModelSource::check_decodable() const {
  if (!undecoded_.empty()) fail(ErrorKind::kMismatch, kOperation, undecoded_, hint_);
}

void ModelSource::read_elements(const TensorInfo& tensor, std::uint64_t begin,
                                std::span<float> out) const {
  check_decodable();
  const std::uint64_t total = tensor.elements();
  if (begin > total || out.size() > total - begin) {
    fail(ErrorKind::kInternal, kOperation,
         fmt::format("elements [{}, {}) of '{}'", begin, begin + out.size(),
                     printable(tensor.name)));
  }
  const TensorInfo* base = unadapted(tensor);
  base == nullptr ? read_range(tensor, begin, out) : read_adapted(*base, begin, out);
}

void ModelSource::read_f32(const TensorInfo& tensor, std::int64_t row_begin, std::int64_t row_end,
                           std::span<float> out) const {
  const TensorRows rows = rows_of(tensor);
  check_readable(tensor, row_begin, row_end, out.size(), rows.width);
  if (out.empty()) return;
  const TensorInfo* base = unadapted(tensor);
  if (base == nullptr) {
    read_rows(tensor, row_begin, row_end, out);
  } else {
    read_adapted(*base, static_cast<std::uint64_t>(row_begin) * rows.width, out);
  }
}

/// Without an adapter.
void ModelSource::read_rows(const TensorInfo& tensor, std::int64_t row_begin, std::int64_t row_end,
                            std::span<float> out) const {
  const std::uint64_t width = rows_of(tensor).width;
  const auto first = static_cast<std::uint64_t>(row_begin);
  const std::uint64_t grain = std::max<std::uint64_t>(1, kChunkElements / width);
  parallel::for_chunks(
      static_cast<std::size_t>(row_end - row_begin), grain, [&](std::size_t a, std::size_t b) {
        read_range(tensor, (first + a) * width, out.subspan(a * width, (b - a) * width));
      });
}

/// Rows in whole; values that the file does not have as they are go through float32.
void ModelSource::read_stored(const TensorInfo& tensor, std::int64_t row_begin,
                              std::int64_t row_end, std::span<std::byte> out) const {
  const TensorRows rows = rows_of(tensor);
  const auto bytes = dtype_bytes(tensor.dtype, rows.width);
  if (!bytes) fail(ErrorKind::kInternal, kOperation, "rows of a type that does not fill bytes");
  check_readable(tensor, row_begin, row_end, out.size(), *bytes);
  const Place& own = place(tensor);
  const bool heads = permuted_head_dim(tensor) != 0;
  const bool rows_are_stored =
      heads || (own.order == RowOrder::kSame && own.values == ValueMap::kSame);
  if (!rows_are_stored || unadapted(tensor) != nullptr ||
      (scaled_ && scaled_->decodes(tensor.name))) {
    std::vector<float> values(static_cast<std::uint64_t>(row_end - row_begin) * rows.width);
    read_f32(tensor, row_begin, row_end, values);
    encode_f32(tensor.dtype, values, out);
    return;
  }
  const Bytes data = checkpoint_->data(tensor);
  for (std::int64_t row = row_begin; row < row_end; ++row) {
    const std::uint64_t stored =
        heads ? own.stored_row(static_cast<std::uint64_t>(row)) : static_cast<std::uint64_t>(row);
    std::ranges::copy(data.subspan(stored * *bytes, *bytes),
                      out.begin() + (row - row_begin) * static_cast<std::int64_t>(*bytes));
  }
}

void ModelSource::release(const TensorInfo& tensor, std::uint64_t offset,
                          std::uint64_t length) const {
  if (const TensorInfo* own = unadapted(tensor)) {
    // Other offsets than those in the file, of the same elements in the same order.
    if ((scaled_ && scaled_->decodes(tensor.name)) || tensor.bytes == 0) return;
    const auto in_file = [&](std::uint64_t at) {
      const double share = static_cast<double>(at) / static_cast<double>(tensor.bytes);
      return static_cast<std::uint64_t>(share * static_cast<double>(own->bytes));
    };
    const std::uint64_t begin = in_file(offset), end = in_file(offset + length);
    checkpoint_->files()[own->file].release(own->offset + begin, end - begin);
    return;
  }
  if (scaled_ && scaled_->decodes(tensor.name)) {
    const std::uint64_t width = dtype_info(tensor.dtype).block_bits / 8;
    scaled_->release(tensor.name, offset / width, (length + width - 1) / width);
    return;
  }
  checkpoint_->files()[tensor.file].release(tensor.offset + offset, length);
}

void ModelSource::prefetch(const TensorInfo& tensor, std::uint64_t offset,
                           std::uint64_t length) const {
  const bool stored = unadapted(tensor) == nullptr && !(scaled_ && scaled_->decodes(tensor.name));
  if (stored) checkpoint_->files()[tensor.file].prefetch(tensor.offset + offset, length);
}

Bytes ModelSource::raw(const TensorInfo& tensor) const {
  return dtype_info(tensor.dtype).quantized ? Bytes() : in_order(tensor);
}

Bytes ModelSource::in_order(const TensorInfo& tensor) const {
  const Place& own = place(tensor);
  if (own.order != RowOrder::kSame || own.values != ValueMap::kSame ||
      unadapted(tensor) != nullptr || (scaled_ && scaled_->decodes(tensor.name)))
    return {};
  check_decodable();
  return checkpoint_->data(tensor);
}

std::map<std::string, std::string> ModelSource::side_files() const {
  std::map<std::string, std::string> files;
  if (const GgufHeader* header = checkpoint_->gguf()) {
    files = side_files_from_gguf(*header, config());
    files["config.json"] = dump_json(config(), 2) + "\n";
    return files;
  }
  if (!checkpoint_->weights_alone()) files = read_template_folder(checkpoint_->path());
  for (const std::string_view name : kSideFiles) {
    if (auto text = checkpoint_->side_file(name)) files.emplace(name, std::move(*text));
  }
  if ((overlay_ || scaled_ || retold_) && config_)
    files["config.json"] = dump_json(*config_, 2) + "\n";
  return files;
}

std::optional<std::string> ModelSource::chat_template() const {
  const ChatTemplates all = chat_templates(*this);
  const auto found = all.find(kDefaultTemplate);
  return found == all.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace lancet
