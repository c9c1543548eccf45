#include "surgery/covariance.h"

#include <algorithm>
#include <set>

#include <ATen/Version.h>
#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/headeronly/version.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/log.h"
#include "core/progress.h"
#include "formats/containers/safetensors.h"
#include "model/names.h"
#include "model/runtime.h"
#include "surgery/down.h"
#include "surgery/key.h"
#include "surgery/statistics/moment.h"

namespace lancet {
namespace {

constexpr std::int64_t kChunkTokens = 1024;  ///< padded tokens of one pass

void hash_tensor(Sha256& hash, const std::string& name, const at::Tensor& value) {
  const at::Tensor plain = value.detach().to(at::kCPU).contiguous();
  hash.update(fmt::format("{}|{}|{}|", name, c10::toString(plain.scalar_type()), plain.numel()));
  hash.update(Bytes(static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()));
}

/// Of the weights that a key of `layer` depends on.
std::string hash_weights(const Decoder& model, std::int64_t layer) {
  const DecoderSpec& spec = model.spec();
  Sha256 hash;
  const std::string embed = spec.names.embed + ".weight";
  hash_tensor(hash, embed, model.weight(embed));
  std::set<std::string> written;  // by edits: no key of the layer depends on them
  for (const DownPart& part : down_parts(model, layer)) written.insert(part.matrix.name);
  for (std::int64_t l = 0; l <= layer; ++l) {
    for (const ExpectedTensor& tensor : block_tensors(spec, l)) {
      if (l < layer || !written.contains(tensor.name))
        hash_tensor(hash, tensor.name, model.weight(tensor.name));
    }
  }
  return hash.hex();
}

/// Documents cut into pieces of at most `window` tokens, longest first so that batches have little
/// padding.
std::vector<PromptRow> read_pieces(const Tokenizer& tokenizer, const CovarianceText& text) {
  const std::string all = read_file(text.path, 1ULL << 30);
  std::vector<PromptRow> pieces;
  std::int64_t total = 0;
  for (std::size_t at = 0; at < all.size() && (text.max_tokens == 0 || total < text.max_tokens);) {
    const std::size_t end = std::min(all.find("\n\n", at), all.size());
    const auto ids = tokenizer.encode(std::string_view(all).substr(at, end - at)).ids;
    at = end + 2;
    for (std::size_t first = 0; first < ids.size();
         first += static_cast<std::size_t>(text.window)) {
      const std::size_t last = std::min(ids.size(), first + static_cast<std::size_t>(text.window));
      pieces.push_back({{ids.begin() + static_cast<std::ptrdiff_t>(first),
                         ids.begin() + static_cast<std::ptrdiff_t>(last)},
                        0});
      total += static_cast<std::int64_t>(last - first);
    }
  }
  std::ranges::stable_sort(pieces, std::greater{},
                           [](const PromptRow& row) { return row.ids.size(); });
  return pieces;
}

/// Rows [first, last) of consecutive pieces that fill one chunk.
std::vector<std::pair<std::int64_t, std::int64_t>> piece_chunks(
    const std::vector<PromptRow>& pieces) {
  std::vector<std::pair<std::int64_t, std::int64_t>> chunks;
  const auto count = static_cast<std::int64_t>(pieces.size());
  for (std::int64_t first = 0; first < count;) {
    const auto longest = std::max<std::int64_t>(
        1, static_cast<std::int64_t>(pieces[static_cast<std::size_t>(first)].ids.size()));
    const std::int64_t last =
        std::min(count, first + std::max<std::int64_t>(1, kChunkTokens / longest));
    chunks.emplace_back(first, last);
    first = last;
  }
  return chunks;
}

/// The keys of the real tokens of one chunk, one a column: float32 [key_width, tokens].
at::Tensor chunk_keys(const Decoder& model, const std::vector<PromptRow>& pieces,
                      std::int64_t first, std::int64_t last, std::int64_t layer) {
  Pass pass;
  const at::Tensor ids = pad_rows(pieces, first, last, pass.lengths).to(model.options().device());
  at::Tensor keys;
  pass.hook = [&](std::int64_t at_layer, Place place, const at::Tensor& value) {
    if (at_layer != layer || place != key_place(model, layer)) return value;
    std::vector<at::Tensor> rows;
    for (std::int64_t r = 0; r < last - first; ++r) {
      const at::Tensor own = value[r].narrow(0, 0, pass.lengths[static_cast<std::size_t>(r)]);
      rows.push_back(keys_at(model, layer, own).t());
    }
    keys = at::cat(rows, 1).to(at::kFloat).contiguous();
    throw StopPass{};
  };
  (void)model.run(model.embed(ids), 0, layer + 1, pass);
  return keys;
}

fs::path cache_path(const CovarianceIdentity& identity) {
  return user_cache_dir() / "covariance" / (identity.key() + ".safetensors");
}

/// The cached matrix, or an undefined tensor when there is none or it is damaged.
at::Tensor load_cached(const fs::path& path, std::int64_t& tokens) {
  if (!fs::exists(path)) return {};
  try {
    const MappedFile file(path);
    const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), path.string());
    const auto count = header.metadata.find("tokens");
    if (header.tensors.size() != 1 || count == header.metadata.end()) return {};
    const TensorInfo& info = header.tensors.front();
    if (info.dtype != DType::kF64 || info.shape.size() != 2 || info.shape[0] != info.shape[1])
      return {};
    at::Tensor matrix = at::empty(info.shape, at::kDouble);
    std::memcpy(matrix.data_ptr(), file.bytes().data() + info.offset, info.bytes);
    tokens = std::stoll(count->second);
    return matrix;
  } catch (const std::exception& error) {
    log::warn(fmt::format("the cached statistics {} are collected anew: {}", path.string(),
                          error.what()));
    return {};
  }
}

void save_cached(const fs::path& path, const at::Tensor& matrix, std::int64_t tokens,
                 const Json& identity) {
  try {
    fs::create_directories(path.parent_path());
    const at::Tensor plain = matrix.contiguous();
    std::vector<OutputTensor> tensors;
    tensors.push_back(
        {"second_moment", DType::kF64, plain.sizes().vec(),
         [&](const std::function<void(Bytes)>& emit) {
           emit(Bytes(static_cast<const std::byte*>(plain.data_ptr()), plain.nbytes()));
         }});
    (void)save_safetensors(path, std::move(tensors),
                           {{"identity", dump_json(identity)}, {"tokens", std::to_string(tokens)}});
  } catch (const std::exception& error) {
    log::warn(fmt::format("the statistics were not cached: {}", error.what()));
  }
}

}  // namespace

CovarianceText shipped_covariance_text() {
  return {share_dir() / "texts" / "covariance.txt", 512, 0};
}

Json CovarianceIdentity::json() const {
  return {{"weights_sha256", weights_sha256},
          {"config_sha256", config_sha256},
          {"tokenizer_sha256", tokenizer_sha256},
          {"text_sha256", text_sha256},
          {"layer", layer},
          {"window", window},
          {"max_tokens", max_tokens},
          {"dtype", dtype},
          {"backend", backend},
          {"version", version}};
}

std::string CovarianceIdentity::key() const { return sha256_hex(dump_json(json())); }

CovarianceIdentity covariance_identity(const Decoder& model, const std::string& config_sha256,
                                       const Tokenizer& tokenizer, std::int64_t layer,
                                       const CovarianceText& text) {
  CovarianceIdentity out;
  out.weights_sha256 = hash_weights(model, layer);
  out.config_sha256 = config_sha256;
  out.tokenizer_sha256 = sha256_hex(dump_json(tokenizer.json()));
  out.text_sha256 = sha256_file(text.path);
  out.layer = layer;
  out.window = text.window;
  out.max_tokens = text.max_tokens;
  out.dtype = model.activation_name();
  out.backend = fmt::format("{} {} {}", model.options().device().str(), TORCH_VERSION,
                            at::get_cpu_capability());
  return out;
}

at::Tensor collect_second_moment(const Decoder& model, const Tokenizer& tokenizer,
                                 std::int64_t layer, const CovarianceText& text,
                                 std::int64_t& tokens) {
  const std::vector<PromptRow> pieces = read_pieces(tokenizer, text);
  tokens = 0;
  for (const PromptRow& piece : pieces) tokens += static_cast<std::int64_t>(piece.ids.size());
  if (tokens == 0)
    fail(ErrorKind::kInput, "covariance",
         fmt::format("expected text, found none ({})", text.path.string()));
  const c10::AutoGradMode no_gradient(false);
  const FreedMemoryKept kept;
  at::Tensor sum;
  Progress progress("second moments", static_cast<std::uint64_t>(tokens), Progress::Unit::kTokens);
  for (const auto& [first, last] : piece_chunks(pieces)) {
    check_interrupted();
    const at::Tensor keys = chunk_keys(model, pieces, first, last, layer);
    if (!sum.defined()) sum = at::zeros({keys.size(0), keys.size(0)}, at::kDouble);
    add_moment(keys, sum);
    progress.advance(static_cast<std::uint64_t>(keys.size(1)));
  }
  mirror_moment(sum);
  progress.finish();
  return sum.div_(static_cast<double>(tokens));
}

Covariance automatic_covariance(const Decoder& model, const std::string& config_sha256,
                                const Tokenizer& tokenizer, std::int64_t layer,
                                const CovarianceText& text) {
  check_key_width(model.spec(), layer);
  const CovarianceIdentity identity =
      covariance_identity(model, config_sha256, tokenizer, layer, text);
  Covariance out;
  out.identity = identity.json();
  const fs::path path = cache_path(identity);
  out.matrix = load_cached(path, out.tokens);
  if (!out.matrix.defined()) {
    out.matrix = collect_second_moment(model, tokenizer, layer, text, out.tokens);
    save_cached(path, out.matrix, out.tokens, out.identity);
  }
  out.identity["key"] = identity.key();
  out.identity["tokens"] = out.tokens;
  return out;
}

}  // namespace lancet
