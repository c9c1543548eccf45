#include "model/decoder.h"

#include <algorithm>
#include <limits>

#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "model/attention.h"
#include "model/decoder_parts.h"
#include "model/decoder_pass.h"
#include "model/embedding_adapted.h"
#include "model/linear_adapted.h"
#include "model/lora.h"
#include "model/products.h"
#include "model/residual.h"

namespace lancet {

namespace {

constexpr double kMaskedLogit = std::numeric_limits<float>::lowest();

/// The hook sees the value on `front`, wherever its layer is.
at::Tensor call(const Hook& hook, std::int64_t layer, Place place, const at::Tensor& value,
                at::Device front) {
  if (!hook) return value;
  at::Tensor out = hook(layer, place, value.to(front));
  if (!out.defined() || out.sizes() != value.sizes()) {
    fail(ErrorKind::kInternal, "model",
         "a hook changed the shape of its value (layer " + std::to_string(layer) + ")");
  }
  return out.to(value.device());
}

/// Rows of a float32, bfloat16 or float16 table as float32 [ids' shape, width].
at::Tensor gather_rows(const at::Tensor& table, const at::Tensor& ids) {
  const std::int64_t width = table.size(1);
  auto shape = ids.sizes().vec();
  shape.push_back(width);
  at::Tensor out = at::empty(shape, at::kFloat);
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < ids.numel(); ++i, to += width) {
    widen(table, id[i] * width, width, to);
  }
  return out;
}

/// The same of a table in a file.
at::Tensor gather_rows(const PackedMatrix& table, const at::Tensor& ids) {
  auto shape = ids.sizes().vec();
  shape.push_back(table.columns());
  at::Tensor out = at::empty(shape, at::kFloat);
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < ids.numel(); ++i, to += table.columns())
    table.decode(id[i], 0, {to, static_cast<std::size_t>(table.columns())});
  table.release();
  return out;
}

void check_segments(const Pass& pass, const at::Tensor& hidden) {
  std::int64_t sum = 0;
  bool bad = hidden.size(0) != 1 || !pass.lengths.empty() || pass.append;
  for (const std::int64_t length : pass.segments) {
    bad = bad || length < 1;
    sum += length;
  }
  if (bad || sum != hidden.size(1))
    fail(
        ErrorKind::kInternal, "model",
        "expected segments of at least one token that fill the only row, and a cache that is read");
}

/// [batch, tokens, width] -> [1, n, width]; all where `positions` is undefined.
at::Tensor at_positions(const at::Tensor& x, const at::Tensor& positions) {
  if (!positions.defined()) return x;
  return x.flatten(0, 1).index_select(0, positions.to(x.device())).unsqueeze(0);
}

/// The CPU keeps activations in float32 also over bf16 weights; a GPU computes in one dtype.
at::ScalarType activation_dtype(at::Device device, at::ScalarType dtype) {
  return device.is_cpu() ? at::kFloat : dtype;
}

}  // namespace

at::TensorOptions Decoder::options() const noexcept {
  return at::TensorOptions(activation_dtype(device_, dtype_)).device(device_);
}

std::string Decoder::activation_name() const {
  const at::ScalarType dtype = activation_dtype(device_, dtype_);
  return std::string(c10::toString(dtype)) +
         (rows_ == RowForm::kRounded ? ", BFloat16 in products" : "");
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
  const Linear& table = ends_->embed;
  at::Tensor rows = table.packed != nullptr ? gather_rows(*table.packed, cpu)
                    : device_.is_cpu()      ? gather_rows(table.weight, cpu)
                                            : at::embedding(table.weight, cpu.to(device_));
  if (is_adapted(table)) rows = adapt_embedded(table, rows, cpu);
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

at::Tensor Decoder::run_block(std::int64_t layer, const at::Tensor& hidden, PassState& pass,
                              const Hook& hook, const at::Tensor& wanted) const {
  const DecoderSpec& spec = *spec_;
  const Block& block = *blocks_[static_cast<std::size_t>(layer)];
  const LayerSpec& each = spec.layer[static_cast<std::size_t>(layer)];
  const auto normed = [](const Norm& norm, const at::Tensor& x) {
    return norm.weight.defined() ? apply_norm(norm, x) : x;
  };
  const auto add = [&](const at::Tensor& stream, const at::Tensor& update) {
    return add_to_stream(stream, spec.residual_scale == 1 ? update : update * spec.residual_scale);
  };
  const Branch first = branch_off(block.attn_norm, hidden);
  const at::Tensor attended =
      each.ssm ? run_ssm(block.ssm, first.normed.value, pass.state_space(layer))
               : run_attention(block.attention, each, first.normed,
                               pass.attention(layer, block.attention.sinks, hidden.device()));
  const at::Tensor stream = at_positions(first.stream, wanted),
                   input = at_positions(first.normed.value, wanted);
  const at::Tensor mixed =
      apply_linear(each.ssm ? block.ssm.out : block.attention.out, at_positions(attended, wanted));
  const at::Tensor heard =
      normed(block.attn_post_norm, call(hook, layer, Place::kAttentionOutput, mixed, device_));
  at::Tensor middle =
      normed(block.attn_add_norm, add(spec.normed_residual ? input : stream, heard));
  if (!each.mlp) return middle;
  const bool apart = block.shared_norm || spec.parallel;  // the MLP does not read the middle
  const Branch second = apart ? Branch{middle, middle} : branch_off(block.mlp_norm, middle);
  const Derived read = block.shared_norm ? Derived(input)
                       : spec.parallel   ? Derived(normed(block.mlp_norm, stream))
                                         : second.normed;
  at::Tensor written;
  if (block.moe.experts.empty()) {
    const Derived key = mlp_key(block.mlp, read);
    written = apply_linear(block.mlp.down,
                           hook ? call(hook, layer, Place::kMlpKey, key.value, device_) : key);
  } else {
    written = run_experts(block.moe, spec.moe,
                          call(hook, layer, Place::kExpertInput, read.value, device_));
  }
  const at::Tensor said =
      normed(block.mlp_post_norm, call(hook, layer, Place::kMlpOutput, written, device_));
  return normed(block.mlp_add_norm, add(spec.normed_residual ? read.value : second.stream, said));
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
  if (first >= last) return at_positions(hidden, pass.wanted);
  try {
    for (std::int64_t layer = first; layer < last; ++layer) {
      check_interrupted();
      if (offloaded() && layer + 1 < spec_->layers) {
        for (const auto& matrix : (*ahead_)[static_cast<std::size_t>(layer + 1)])
          matrix->prefetch();
      }
      hidden = call(pass.hook, layer, Place::kBlockInput, hidden.to(place_of(layer)), device_);
      hidden = call(pass.hook, layer, Place::kBlockOutput,
                    run_block(layer, hidden, state, pass.hook,
                              layer + 1 == last ? pass.wanted : at::Tensor()),
                    device_);
    }
  } catch (const StopPass&) {
  }
  return hidden.to(device_);
}

at::Tensor Decoder::expert_keys(std::int64_t layer, const at::Tensor& read) const {
  const Block& block = *blocks_.at(static_cast<std::size_t>(layer));
  if (block.moe.experts.empty())
    fail(ErrorKind::kMismatch, "model",
         "expected a layer of experts, found one MLP or none in layer " + std::to_string(layer));
  return gated_keys(block.moe, spec_->moe, read);
}

at::Tensor Decoder::head(const at::Tensor& hidden) const { return logits(final_norm(hidden)); }

const Linear& Decoder::head_linear() const noexcept { return ends_->head; }

at::Tensor Decoder::logits(const at::Tensor& normed, std::int64_t first_row) const {
  Linear head = ends_->head;
  if (first_row > 0 && is_adapted(head) && head.low_rank->drops()) {
    auto later = std::make_shared<LowRank>(*head.low_rank);
    later->first_row = first_row;
    head.low_rank = std::move(later);
  }
  at::Tensor logits = apply_linear(head, normed).to(at::kFloat);
  if (spec_->logit_scale != 1) logits = logits * spec_->logit_scale;
  if (spec_->logit_softcap != 0)
    logits = at::tanh(logits / spec_->logit_softcap) * spec_->logit_softcap;
  return ends_->masked.defined() ? logits.masked_fill(ends_->masked, kMaskedLogit) : logits;
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden) const {
  const at::Tensor normed =
      ends_->final_norm.weight.defined() ? apply_norm(ends_->final_norm, hidden) : hidden;
  return ends_->project_out.weight.defined() ? apply_linear(ends_->project_out, normed) : normed;
}

at::Tensor Decoder::forward(const at::Tensor& ids, const Pass& pass) const {
  return head(run(embed(ids), 0, spec_->layers, pass));
}

}  // namespace lancet
