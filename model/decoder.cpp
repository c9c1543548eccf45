#include "model/decoder.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "model/attention.h"
#include "model/decoder_parts.h"
#include "model/intraop.h"
#include "model/lora.h"
#include "model/names.h"

namespace lancet {

namespace {

constexpr std::int64_t kGrain = 32768;  ///< elements of one parallel chunk
constexpr double kMaskedLogit = std::numeric_limits<float>::lowest();

at::Tensor call(const Hook& hook, std::int64_t layer, Place place, const at::Tensor& value) {
  if (!hook) return value;
  at::Tensor out = hook(layer, place, value);
  if (!out.defined() || out.sizes() != value.sizes()) {
    fail(ErrorKind::kInternal, "model",
         "a hook changed the shape of its value (layer " + std::to_string(layer) + ")");
  }
  return out;
}

/// Rows of a float32 or bf16 table as float32 [ids' shape, width].
at::Tensor gather_rows(const at::Tensor& table, const at::Tensor& ids) {
  const std::int64_t width = table.size(1);
  auto shape = ids.sizes().vec();
  shape.push_back(width);
  at::Tensor out = at::empty(shape, at::kFloat);
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < ids.numel(); ++i, to += width) {
    if (table.scalar_type() == at::kFloat) {
      std::copy_n(table.const_data_ptr<float>() + id[i] * width, width, to);
    } else {
      std::copy_n(table.const_data_ptr<at::BFloat16>() + id[i] * width, width, to);
    }
  }
  return out;
}

/// Adds to the residual stream.
at::Tensor add_to_stream(const at::Tensor& stream, const at::Tensor& update) {
  const bool grad =
      c10::GradMode::is_enabled() && (stream.requires_grad() || update.requires_grad());
  if (!is_native(stream) || grad || !stream.is_contiguous() || !update.is_contiguous())
    return stream + update;
  at::Tensor out = at::empty_like(stream);
  const auto* a = stream.const_data_ptr<float>();
  const auto* b = update.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  intraop_chunks(stream.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = a[i] + b[i];
  });
  return out;
}

/// Position of the first token of each row.
std::vector<std::int64_t> starts_of(const Pass& pass, std::int64_t batch) {
  std::vector<std::int64_t> starts(static_cast<std::size_t>(batch), 0);
  if (pass.cache != nullptr) starts = pass.cache->lengths();
  if (std::cmp_not_equal(starts.size(), batch) ||
      (!pass.lengths.empty() && std::cmp_not_equal(pass.lengths.size(), batch))) {
    fail(ErrorKind::kInternal, "model",
         "expected cache and lengths of " + std::to_string(batch) + " rows");
  }
  return starts;
}

std::int64_t longest_segment(const Pass& pass) { return *std::ranges::max_element(pass.segments); }

void check_segments(const Pass& pass, const at::Tensor& hidden) {
  std::int64_t sum = 0;
  bool bad = hidden.size(0) != 1 || pass.cache != nullptr || !pass.lengths.empty();
  for (const std::int64_t length : pass.segments) {
    bad = bad || length < 1;
    sum += length;
  }
  if (bad || sum != hidden.size(1))
    fail(ErrorKind::kInternal, "model",
         "expected segments of at least one token that fill the only row, and no cache");
}

/// One pass through the blocks: what of attention is the same for all of them.
class PassState {
 public:
  PassState(const DecoderSpec& spec, const std::vector<RopeCache>& ropes, const at::Tensor& hidden,
            const Pass& pass)
      : spec_(spec), pass_(pass) {
    const std::int64_t batch = hidden.size(0);
    const std::int64_t tokens = pass.segments.empty() ? hidden.size(1) : longest_segment(pass);
    attention_.spec = &spec.attention;
    attention_.segments = pass.segments;
    attention_.starts = starts_of(pass, batch);
    std::int64_t longest = 0;
    for (std::size_t b = 0; b < attention_.starts.size(); ++b) {
      longest = std::max(longest,
                         attention_.starts[b] + (pass.lengths.empty() ? tokens : pass.lengths[b]));
    }
    const std::int64_t positions = *std::ranges::max_element(attention_.starts) + tokens;
    for (const RopeCache& rope : ropes)
      tables_.push_back(rope.table(longest, positions, hidden.device()));
    if (pass.append) attention_.append_to = pass.cache;
    cached_ = positions > tokens;
  }

  const AttentionPass& enter(std::int64_t layer, const at::Tensor& sinks) {
    static const RopeSpec no_rope{.kind = RopeKind::kNone};
    const LayerSpec& each = spec_.layer[static_cast<std::size_t>(layer)];
    attention_.layer = layer;
    attention_.window = each.window;
    attention_.chunk = each.chunk;
    attention_.sinks = sinks;
    const auto rope = static_cast<std::size_t>(each.rope);
    attention_.rope = each.rope < 0 ? &no_rope : &spec_.ropes[rope];
    attention_.table = each.rope < 0 ? RopeTable() : tables_[rope];
    if (cached_) {
      attention_.prefix_keys = pass_.cache->keys(layer);
      attention_.prefix_values = pass_.cache->values(layer);
    }
    return attention_;
  }

 private:
  const DecoderSpec& spec_;
  const Pass& pass_;
  AttentionPass attention_;
  std::vector<RopeTable> tables_;
  bool cached_ = false;
};

/// The CPU keeps activations in float32 also over bf16 weights; a GPU computes in one dtype.
at::ScalarType activation_dtype(at::Device device, at::ScalarType dtype) {
  return device.is_cpu() ? at::kFloat : dtype;
}

}  // namespace

at::TensorOptions Decoder::options() const noexcept {
  return at::TensorOptions(activation_dtype(device_, dtype_)).device(device_);
}

at::Tensor Decoder::embed(const at::Tensor& ids) const {
  const at::Tensor cpu = ids.to(at::kCPU, at::kLong).contiguous();
  const auto* id = cpu.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < cpu.numel(); ++i) {
    if (id[i] < 0 || id[i] >= spec_->vocab) {
      fail(ErrorKind::kInput, "model",
           "expected token ids from 0 to " + std::to_string(spec_->vocab - 1) + ", found " +
               std::to_string(id[i]) + " at position " + std::to_string(i));
    }
  }
  at::Tensor rows =
      device_.is_cpu() ? gather_rows(embed_, cpu) : at::embedding(embed_, cpu.to(device_));
  if (spec_->embed_scale != 1) rows = rows * spec_->embed_scale;
  if (ends_->project_in.weight.defined()) rows = apply_linear(ends_->project_in, rows);
  return ends_->embed_norm.weight.defined() ? apply_norm(ends_->embed_norm, rows) : rows;
}

at::Tensor Decoder::add_positions(const at::Tensor& hidden, const Pass& pass) const {
  if (!ends_->positions.defined()) return hidden;
  const at::Tensor position =
      token_positions(starts_of(pass, hidden.size(0)), pass.segments, hidden.size(1));
  // Tokens behind a row's length are padding: any position does for them.
  const at::Tensor row =
      (position + spec_->position_offset).clamp_max(ends_->positions.size(0) - 1);
  for (std::int64_t b = 0; b < hidden.size(0); ++b) {
    const std::int64_t count =
        pass.lengths.empty() ? hidden.size(1) : pass.lengths[static_cast<std::size_t>(b)];
    const std::int64_t end = position[b].narrow(0, 0, count).max().item<std::int64_t>() + 1;
    if (end <= spec_->max_positions) continue;
    fail(ErrorKind::kInput, "model",
         "expected at most " + std::to_string(spec_->max_positions) +
             " tokens, the learned positions of this model, found " + std::to_string(end));
  }
  return hidden + (device_.is_cpu() ? gather_rows(ends_->positions, row)
                                    : at::embedding(ends_->positions, row.to(device_)));
}

at::Tensor Decoder::run_block(std::int64_t layer, const at::Tensor& hidden,
                              const AttentionPass& attention, const Hook& hook) const {
  const DecoderSpec& spec = *spec_;
  const Block& block = *blocks_[static_cast<std::size_t>(layer)];
  const auto normed = [](const Norm& norm, const at::Tensor& x) {
    return norm.weight.defined() ? apply_norm(norm, x) : x;
  };
  const auto add = [&](const at::Tensor& stream, const at::Tensor& update) {
    return add_to_stream(stream, spec.residual_scale == 1 ? update : update * spec.residual_scale);
  };
  const at::Tensor input = normed(block.attn_norm, hidden);
  const at::Tensor mixed =
      apply_linear(block.attention.out,
                   run_attention(block.attention, spec.layer[static_cast<std::size_t>(layer)],
                                 input, attention));
  const at::Tensor heard =
      normed(block.attn_post_norm, call(hook, layer, Place::kAttentionOutput, mixed));
  const at::Tensor middle =
      normed(block.attn_add_norm, add(spec.normed_residual ? input : hidden, heard));
  const at::Tensor read =
      block.shared_norm ? input : normed(block.mlp_norm, spec.parallel ? hidden : middle);
  at::Tensor written;
  if (block.moe.experts.empty()) {
    const at::Tensor key = call(hook, layer, Place::kMlpKey, mlp_key(block.mlp, read));
    written = apply_linear(block.mlp.down, key);
  } else {
    written = run_experts(block.moe, spec.moe, read);
  }
  const at::Tensor said =
      normed(block.mlp_post_norm, call(hook, layer, Place::kMlpOutput, written));
  return normed(block.mlp_add_norm, add(spec.normed_residual ? read : middle, said));
}

at::Tensor Decoder::run(at::Tensor hidden, std::int64_t first, std::int64_t last,
                        const Pass& pass) const {
  if (hidden.dim() != 3 || hidden.size(2) != spec_->d_model || first < 0 || last > spec_->layers) {
    fail(ErrorKind::kInternal, "model",
         "expected hidden states [batch, tokens, d_model] and layers of the model");
  }
  if (hidden.numel() == 0) return hidden;
  if (!pass.segments.empty()) check_segments(pass, hidden);
  PassState state(*spec_, *ropes_, hidden, pass);
  if (first == 0 && last > 0) hidden = add_positions(hidden, pass);
  try {
    for (std::int64_t layer = first; layer < last; ++layer) {
      check_interrupted();
      const at::Tensor& sinks = blocks_[static_cast<std::size_t>(layer)]->attention.sinks;
      hidden = call(pass.hook, layer, Place::kBlockInput, hidden);
      hidden = call(pass.hook, layer, Place::kBlockOutput,
                    run_block(layer, hidden, state.enter(layer, sinks), pass.hook));
    }
  } catch (const StopPass&) {
  }
  return hidden;
}

at::Tensor Decoder::head(const at::Tensor& hidden) const { return logits(final_norm(hidden)); }

const Linear& Decoder::head_linear() const noexcept { return ends_->head; }

at::Tensor Decoder::logits(const at::Tensor& normed) const {
  at::Tensor logits = apply_linear(ends_->head, normed).to(at::kFloat);
  if (spec_->logit_scale != 1) logits = logits * spec_->logit_scale;
  if (spec_->logit_softcap != 0)
    logits = at::tanh(logits / spec_->logit_softcap) * spec_->logit_softcap;
  for (const auto& [begin, end] : spec_->masked_ids) {
    const at::Tensor id = at::arange(spec_->vocab, logits.options().dtype(at::kLong));
    logits = logits.masked_fill(at::logical_and(id >= begin, id < end), kMaskedLogit);
  }
  return logits;
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden) const {
  const at::Tensor normed =
      ends_->final_norm.weight.defined() ? apply_norm(ends_->final_norm, hidden) : hidden;
  return ends_->project_out.weight.defined() ? apply_linear(ends_->project_out, normed) : normed;
}

at::Tensor Decoder::forward(const at::Tensor& ids, const Pass& pass) const {
  return head(run(embed(ids), 0, spec_->layers, pass));
}

MatrixRef Decoder::mlp_down(std::int64_t layer, std::int64_t expert) const {
  if (layer < 0 || layer >= spec_->layers) {
    fail(ErrorKind::kUsage, "model",
         "expected a layer from 0 to " + std::to_string(spec_->layers - 1) + ", found " +
             std::to_string(layer));
  }
  const MoeSpec& moe = spec_->moe;
  const bool mixture = spec_->layer[static_cast<std::size_t>(layer)].moe;
  if (expert >= (mixture ? moe.experts : 0)) {
    fail(ErrorKind::kUsage, "model",
         "expected an expert below " + std::to_string(mixture ? moe.experts : 0) + " of layer " +
             std::to_string(layer) + ", found " + std::to_string(expert));
  }
  if (mixture && expert < 0) {
    fail(ErrorKind::kMismatch, "model",
         "expected a layer with one MLP, found " + std::to_string(moe.experts) +
             " experts in layer " + std::to_string(layer));
  }
  if (!mixture) {
    const std::string name = layer_name(spec_->names.mlp.down, layer) + ".weight";
    return {name, weight(name), spec_->layout};
  }
  const std::string name = layer_name(spec_->names.expert.down, layer, expert);
  if (moe.layout == ExpertLayout::kStacked)
    return {name, weight(name).select(0, expert), moe.matrix, expert};
  return {name + ".weight", weight(name + ".weight"), moe.matrix};
}

const at::Tensor& Decoder::weight(std::string_view name) const {
  const auto at = weights_.find(std::string(name));
  if (at != weights_.end()) return at->second;
  std::vector<std::string_view> known;
  for (const auto& [each, tensor] : weights_) known.push_back(each);
  fail(ErrorKind::kMismatch, "model",
       "expected a tensor of the model, found '" + printable(name) + "'",
       did_you_mean(name, known));
}

at::Tensor Decoder::matrix(std::string_view name) const {
  const at::Tensor& stored = weight(name);
  const auto at = packed_.find(std::string(name));
  if (at == packed_.end()) return stored.to(at::kCPU, at::kFloat);
  at::Tensor out = at::empty(stored.sizes(), at::kFloat);
  const auto width = static_cast<std::size_t>(out.size(1));
  for (std::int64_t row = 0; row < out.size(0); ++row)
    at->second->decode(row, 0, {out.mutable_data_ptr<float>() + row * out.size(1), width});
  return out;
}

std::uint64_t Decoder::weight_bytes() const {
  std::uint64_t bytes = 0;
  for (const auto& [name, tensor] : weights_) bytes += packed_.contains(name) ? 0 : tensor.nbytes();
  for (const auto& [name, matrix] : packed_) bytes += matrix->bytes();
  return bytes;
}

std::vector<std::string> Decoder::weight_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights_) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

Decoder Decoder::with_weight(std::string_view name, at::Tensor value) const {
  const at::Tensor& old = weight(name);
  if (value.sizes() != old.sizes() || value.scalar_type() != old.scalar_type() ||
      value.device() != old.device()) {
    fail(ErrorKind::kInternal, "model",
         "a replaced weight must keep shape, dtype and device: " + std::string(name));
  }
  Decoder out = *this;
  out.weights_[std::string(name)] = value.contiguous();
  out.bind();
  return out;
}

Decoder Decoder::with_low_rank(LoraParts parts) const {
  Decoder out = *this;
  out.low_rank_ = std::move(parts);
  std::size_t fitting = 0;
  for (const LinearModule& module : linear_modules(*spec_)) {
    const auto at = out.low_rank_.find(module.name);
    if (at == out.low_rank_.end()) continue;
    const LowRank& part = *at->second;
    fitting += part.a.size(1) == module.d_in && part.b.size(0) == module.d_out ? 1 : 0;
  }
  if (fitting != out.low_rank_.size())
    fail(ErrorKind::kInternal, "model", "a low-rank part fits no linear layer");
  out.bind();
  return out;
}

}  // namespace lancet
