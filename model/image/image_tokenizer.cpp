#include "model/image/image_tokenizer.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "model/config_reader.h"

namespace lancet {
namespace {

constexpr std::string_view kPrefix = "model.vqmodel.";
constexpr std::int64_t kGroups = 32;
constexpr double kEps = 1e-6;
constexpr int kLanczos = 1;                      ///< Pillow's number of the filter
constexpr std::int64_t kMostScaled = 1LL << 26;  ///< pixels of a picture that is scaled
constexpr std::int64_t kMostLevels = 16, kMostBlocks = 64, kLongestSide = 4096;

[[noreturn]] void mismatch(const std::string& message) {
  fail(ErrorKind::kMismatch, "image", message);
}

at::Tensor swish(const at::Tensor& x) { return x * at::sigmoid(x); }

/// "IMGIMGBCDZ" is the code 123: A to J are the digits.
std::optional<std::int64_t> code_of(std::string_view token) {
  constexpr std::string_view kBegin = "IMGIMG";
  if (!token.starts_with(kBegin) || token.size() < kBegin.size() + 2 || token.size() > 16 ||
      token.back() != 'Z')
    return std::nullopt;
  std::int64_t code = 0;
  for (const char c : token.substr(kBegin.size(), token.size() - kBegin.size() - 1)) {
    if (c < 'A' || c > 'J') return std::nullopt;
    code = 10 * code + (c - 'A');
  }
  return code;
}

std::int32_t id_of(const Json& vocabulary, const std::string& token) {
  const auto at = vocabulary.find(token);
  if (at == vocabulary.end() || !at->is_number_integer() || *at < 0 || *at > INT32_MAX)
    mismatch(fmt::format("config.json: expected '{}' in vocabulary_map, found none", token));
  return at->get<std::int32_t>();
}

/// A size of preprocessor_config.json: {"height": n, "width": n}, {"shortest_edge": n} or n.
std::int64_t size_of(const Json& config, const char* key, std::string_view part,
                     std::int64_t fallback) {
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return fallback;
  if (at->is_object()) return read_size(*at, part, kLongestSide);
  return read_size(config, key, kLongestSide);
}

std::vector<float> colours_of(const Json& config, const char* key) {
  const auto at = config.find(key);
  if (at == config.end() || at->is_null()) return {1, 1, 1};
  std::vector<float> out;
  for (const Json& value : *at) {
    if (value.is_number()) out.push_back(value.get<float>());
  }
  if (out.size() != 3) fail_config(key, *at, "three numbers");
  return out;
}

}  // namespace

ImageTokenizer ImageTokenizer::open(const ModelSource& source) {
  const Json& config = source.config();
  const auto vq = config.find("vq_config");
  if (source.find(std::string(kPrefix) + "quantize.embedding.weight") == nullptr ||
      vq == config.end() || !vq->is_object()) {
    fail(ErrorKind::kMismatch, "image",
         fmt::format("{}: expected a model with an image tokenizer (model.vqmodel), found none",
                     printable(source.checkpoint().path().string(), 400)),
         "Chameleon has one; a picture's ids can also be given as --ids");
  }
  ImageTokenizer out;
  out.read_weights(source, *vq);
  out.check_depth();
  out.read_vocabulary(config, out.weight("quantize.embedding.weight").size(0));
  out.read_preparation(source, read_size(*vq, "resolution", kLongestSide, 512));
  return out;
}

void ImageTokenizer::read_weights(const ModelSource& source, const Json& config) {
  expect_option(config, "double_latent", false);
  expect_option(config, "attn_type", "vanilla");
  expect_option(config, "in_channels", 3);
  blocks_ = read_size(config, "num_res_blocks", kMostBlocks, 2);
  const auto factors = config.find("channel_multiplier");
  levels_ = factors == config.end() || !factors->is_array() ? 5 : std::ssize(*factors);
  if (levels_ < 1 || levels_ > kMostLevels)
    fail_config("channel_multiplier", *factors, "up to 16 levels");
  for (const TensorInfo& tensor : source.tensors()) {
    if (!tensor.name.starts_with(kPrefix)) continue;
    const std::string name = tensor.name.substr(kPrefix.size());
    if (!name.starts_with("encoder.") && !name.starts_with("quant"))
      continue;  // what draws pictures
    if (tensor.shape.empty())
      mismatch(fmt::format("tensor '{}': expected dimensions, found none", printable(tensor.name)));
    at::Tensor weight = at::empty(tensor.shape, at::kFloat);
    source.read_f32(tensor, 0, tensor.shape[0],
                    {weight.data_ptr<float>(), static_cast<std::size_t>(weight.numel())});
    if (!at::isfinite(weight).all().item<bool>()) {
      fail(ErrorKind::kInput, "image",
           fmt::format("tensor '{}': expected finite values, found NaN or infinity",
                       printable(tensor.name)));
    }
    weights_.emplace(name, std::move(weight));
  }
}

/// A config that says less than the file holds belongs to another model.
void ImageTokenizer::check_depth() const {
  const at::Tensor& book = weight("quantize.embedding.weight");
  if (book.dim() != 2) mismatch("the code book: expected a matrix, found another shape");
  for (const std::string& behind : {fmt::format("encoder.down.{}.block.0.conv1.weight", levels_),
                                    fmt::format("encoder.down.0.block.{}.conv1.weight", blocks_)}) {
    if (weights_.contains(behind))
      mismatch(
          fmt::format("expected an image tokenizer of {} levels of {} blocks, found '{}{}', too",
                      levels_, blocks_, kPrefix, behind));
  }
}

void ImageTokenizer::read_vocabulary(const Json& config, std::int64_t codes) {
  const auto vocabulary = config.find("vocabulary_map");
  if (vocabulary == config.end() || !vocabulary->is_object())
    fail_config("vocabulary_map", vocabulary == config.end() ? Json() : *vocabulary,
                "an object of token ids");
  begin_ = id_of(*vocabulary, "<racm3:break>");
  end_ = id_of(*vocabulary, "<eoss>");
  id_of_code_.assign(static_cast<std::size_t>(codes), -1);
  for (const auto& [token, id] : vocabulary->items()) {
    const auto code = code_of(token);
    if (code && *code < codes)
      id_of_code_[static_cast<std::size_t>(*code)] = id_of(*vocabulary, token);
  }
}

void ImageTokenizer::read_preparation(const ModelSource& source, std::int64_t resolution) {
  const auto files = source.side_files();
  const auto file = files.find("preprocessor_config.json");
  const Json config = file == files.end() ? Json::object() : parse_json(file->second, file->first);
  if (!config.is_object())
    fail(ErrorKind::kInput, "image",
         fmt::format("preprocessor_config.json: expected an object, found {}", config.type_name()));
  // What is done here always, and by which filter.
  for (const char* key : {"do_resize", "do_center_crop", "do_rescale", "do_normalize"}) {
    if (!read_flag(config, key, true))
      mismatch(fmt::format("preprocessor_config.json: expected {} true, found false", key));
  }
  if (const Json filter = config.value("resample", Json(kLanczos)); filter != kLanczos)
    mismatch(fmt::format("preprocessor_config.json: expected resample {} (Lanczos), found {}",
                         kLanczos, filter.dump()));
  shorter_ = size_of(config, "size", "shortest_edge", resolution);
  height_ = size_of(config, "crop_size", "height", shorter_);
  width_ = size_of(config, "crop_size", "width", shorter_);
  if (height_ > shorter_ || width_ > shorter_)
    mismatch(fmt::format(
        "preprocessor_config.json: expected a crop_size within {} pixels, found {} x {}", shorter_,
        width_, height_));
  rescale_ = read_number(config, "rescale_factor", 0.0078);
  mean_ = colours_of(config, "image_mean");
  deviation_ = colours_of(config, "image_std");
  if (std::ranges::find(deviation_, 0.0F) != deviation_.end())
    fail_config("image_std", config["image_std"], "numbers that are not 0");
}

const at::Tensor& ImageTokenizer::weight(const std::string& name) const {
  const auto at = weights_.find(name);
  if (at == weights_.end())
    mismatch(fmt::format("expected a tensor '{}{}', found none", kPrefix, name));
  return at->second;
}

const at::Tensor& ImageTokenizer::vector(const std::string& name, std::int64_t size) const {
  const at::Tensor& out = weight(name);
  if (out.dim() != 1 || out.size(0) != size)
    mismatch(fmt::format("tensor '{}{}': expected {} values, found {} in {} dimensions", kPrefix,
                         name, size, out.numel(), out.dim()));
  return out;
}

at::Tensor ImageTokenizer::convolved(const at::Tensor& x, const std::string& name,
                                     std::int64_t stride, std::int64_t padding) const {
  const at::Tensor& w = weight(name + ".weight");
  if (w.dim() != 4 || w.size(1) != x.size(1))
    mismatch(fmt::format("tensor '{}{}.weight': expected {} channels in, found {}", kPrefix, name,
                         x.size(1), w.dim() == 4 ? w.size(1) : 0));
  return at::conv2d(x, w, vector(name + ".bias", w.size(0)), at::IntArrayRef{stride},
                    at::IntArrayRef{padding});
}

at::Tensor ImageTokenizer::normed(const at::Tensor& x, const std::string& name) const {
  const std::int64_t channels = x.size(1);
  if (channels % kGroups != 0)
    mismatch(fmt::format("tensor '{}{}.weight': expected a multiple of {} channels, found {}",
                         kPrefix, name, kGroups, channels));
  return at::group_norm(x, kGroups, vector(name + ".weight", channels),
                        vector(name + ".bias", channels), kEps);
}

at::Tensor ImageTokenizer::residual(const at::Tensor& x, const std::string& name) const {
  at::Tensor h = convolved(swish(normed(x, name + ".norm1")), name + ".conv1", 1, 1);
  h = convolved(swish(normed(h, name + ".norm2")), name + ".conv2", 1, 1);
  return (h.size(1) == x.size(1) ? x : convolved(x, name + ".nin_shortcut")) + h;
}

at::Tensor ImageTokenizer::attention(const at::Tensor& x, const std::string& name) const {
  const at::Tensor n = normed(x, name + ".norm");
  const auto flat = [&](const char* part) { return convolved(n, name + part).flatten(2); };
  const at::Tensor q = flat(".q").transpose(1, 2), k = flat(".k"), v = flat(".v");
  const double scale = 1 / std::sqrt(static_cast<double>(x.size(1)));
  const at::Tensor shares = at::softmax(at::bmm(q, k) * scale, 2);
  return x + convolved(at::bmm(v, shares.transpose(1, 2)).view(x.sizes()), name + ".proj_out");
}

at::Tensor ImageTokenizer::encoded(const at::Tensor& pixels) const {
  at::Tensor x = convolved(pixels, "encoder.conv_in", 1, 1);
  for (std::int64_t level = 0; level < levels_; ++level) {
    const std::string name = fmt::format("encoder.down.{}.", level);
    for (std::int64_t block = 0; block < blocks_; ++block) {
      x = residual(x, fmt::format("{}block.{}", name, block));
      const std::string attends = fmt::format("{}attn.{}", name, block);
      if (weights_.contains(attends + ".norm.weight")) x = attention(x, attends);
    }
    if (level + 1 < levels_)  // one row and one column of zeros behind
      x = convolved(at::constant_pad_nd(x, {0, 1, 0, 1}), name + "downsample.conv", 2);
  }
  x = attention(residual(x, "encoder.mid.block_1"), "encoder.mid.attn_1");
  x = residual(x, "encoder.mid.block_2");
  x = convolved(swish(normed(x, "encoder.norm_out")), "encoder.conv_out", 1, 1);
  return convolved(x, "quant_conv");
}

std::vector<std::int64_t> ImageTokenizer::codes(const at::Tensor& pixels) const {
  const at::Tensor& book = weight("quantize.embedding.weight");
  const at::Tensor patches = encoded(pixels);
  if (patches.size(1) != book.size(1))
    mismatch(fmt::format("tensor '{}quantize.embedding.weight': expected rows of {}, found {}",
                         kPrefix, patches.size(1), book.size(1)));
  const at::Tensor rows = patches.permute({0, 2, 3, 1}).reshape({-1, book.size(1)});
  const at::Tensor distances =
      rows.square().sum(1, true) + book.square().sum(1) - 2 * at::mm(rows, book.t());
  const at::Tensor nearest = distances.argmin(1);
  const auto* first = nearest.data_ptr<std::int64_t>();
  return {first, first + nearest.numel()};
}

at::Tensor ImageTokenizer::pixels(const Picture& picture) const {
  const auto [shorter, longer] = std::minmax(picture.width, picture.height);
  const auto scaled = static_cast<std::int64_t>(static_cast<double>(shorter_ * longer) /
                                                static_cast<double>(shorter));
  if (scaled > kMostScaled / shorter_) {
    fail(ErrorKind::kInput, "image",
         fmt::format("expected a picture at most {} times as long as wide, found {} x {} pixels",
                     kMostScaled / (shorter_ * shorter_), picture.width, picture.height));
  }
  const bool upright = picture.width <= picture.height;
  const Picture cut = middle_of(
      resized(picture, upright ? shorter_ : scaled, upright ? scaled : shorter_), width_, height_);
  at::Tensor out = at::empty({1, 3, height_, width_}, at::kFloat);
  auto* values = out.data_ptr<float>();
  const std::size_t plane = cut.rgb.size() / 3;
  for (std::size_t at = 0; at < cut.rgb.size(); ++at) {
    const std::size_t c = at % 3;
    const auto value = static_cast<float>(cut.rgb[at] * rescale_);
    values[c * plane + at / 3] = (value - mean_[c]) / deviation_[c];
  }
  return out;
}

std::vector<std::int32_t> ImageTokenizer::ids(const Picture& picture) const {
  std::vector<std::int32_t> out{begin_};
  for (const std::int64_t code : codes(pixels(picture))) {
    const std::int32_t id = id_of_code_[static_cast<std::size_t>(code)];
    if (id < 0)
      mismatch(
          fmt::format("config.json: expected a token for the image code {}, found none", code));
    out.push_back(id);
  }
  out.push_back(end_);
  return out;
}

}  // namespace lancet
