#include "surgery/value.h"

#include <cmath>
#include <memory>
#include <numeric>
#include <optional>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "model/runtime.h"
#include "surgery/adam.h"

namespace lancet {
namespace {

/// One fact's search.
struct Search {
  std::size_t index;  ///< of the fact
  const FactRows* rows;
  at::Tensor start;  ///< v_0, float64 [d_model]
  double norm;       ///< |v_0|
  at::Tensor delta;
  Adam adam;
  at::Tensor kl_before;  ///< log p of the unedited model at the subject alone [vocab]
  std::vector<at::Tensor> losses;

  [[nodiscard]] std::int64_t targets() const { return std::ssize(rows->target); }
  [[nodiscard]] std::int64_t passes() const { return std::ssize(losses); }
};

/// What one pass says of one fact.
struct Part {
  double nll = 0, kl = 0, probability = 0;  ///< means over rows
  double worst_nll = 0;                     ///< of its rows
  bool all_first = true;                    ///< every target token is the arg max
};

/// The rows of the facts that are still searched, a chunk of its own after some have left.
struct Batch {
  std::vector<Search*> facts;
  std::vector<std::int64_t> rewriting;  ///< rows of each fact, without the subject alone
  std::vector<std::int64_t> lengths;    ///< of each row's tail
  at::Tensor tail;                      ///< [1, sum of lengths, d_model]: nothing is padded
  KvCache* prefix;
  std::unique_ptr<KvCache> own_prefix;
};

/// Where each row begins in the tail.
std::vector<std::int64_t> begins_of(const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> out(lengths.size());
  std::exclusive_scan(lengths.begin(), lengths.end(), out.begin(), std::int64_t{0});
  return out;
}

/// A chunk's tails without their padding, no facts yet.
Batch packed(const RowChunk& chunk) {
  Batch out{};
  std::vector<at::Tensor> tails;
  for (std::size_t r = 0; r < chunk.lengths.size(); ++r)
    tails.push_back(chunk.tail[static_cast<std::int64_t>(r)].narrow(0, 0, chunk.lengths[r]));
  out.lengths = chunk.lengths;
  out.tail = at::cat(tails).unsqueeze(0);
  out.prefix = chunk.prefix.get();
  return out;
}

/// The rows of the facts whose flag is set: at most the first `most` rewriting ones of each, and
/// its subject alone.
Batch part_of(const Batch& batch, const std::vector<bool>& keep, std::int64_t most) {
  Batch out{};
  std::vector<std::int64_t> rows;
  std::int64_t row = 0;
  for (std::size_t f = 0; f < batch.facts.size(); ++f) {
    const std::int64_t count = batch.rewriting[f], used = std::min(most, count);
    for (std::int64_t r = 0; keep[f] && r <= used; ++r)
      rows.push_back(row + (r < used ? r : count));
    if (keep[f]) {
      out.facts.push_back(batch.facts[f]);
      out.rewriting.push_back(used);
    }
    row += count + 1;
  }
  if (rows.empty()) return out;
  const std::vector<std::int64_t> begins = begins_of(batch.lengths);
  std::vector<at::Tensor> tails;
  for (const std::int64_t r : rows) {
    const auto i = static_cast<std::size_t>(r);
    out.lengths.push_back(batch.lengths[i]);
    tails.push_back(batch.tail.narrow(1, begins[i], batch.lengths[i]));
  }
  out.tail = at::cat(tails, 1);
  out.own_prefix = std::make_unique<KvCache>(batch.prefix->select(rows));
  out.prefix = out.own_prefix.get();
  return out;
}

/// The fact of each row.
at::Tensor owners(const Batch& batch) {
  std::vector<std::int64_t> out;
  for (std::size_t f = 0; f < batch.facts.size(); ++f)
    out.insert(out.end(), static_cast<std::size_t>(batch.rewriting[f] + 1),
               static_cast<std::int64_t>(f));
  return at::tensor(out, at::kLong).to(batch.tail.device());
}

/// Positions of the tail that predict, fact by fact: T of every rewriting row, then the one of the
/// subject alone.
at::Tensor predicting(const Batch& batch) {
  const std::vector<std::int64_t> begins = begins_of(batch.lengths);
  std::vector<std::int64_t> out;
  std::size_t row = 0;
  for (std::size_t f = 0; f < batch.facts.size(); ++f) {
    const std::int64_t targets = batch.facts[f]->targets();
    for (std::int64_t r = 0; r < batch.rewriting[f]; ++r, ++row) {
      for (std::int64_t t = 0; t < targets; ++t)
        out.push_back(begins[row] + batch.lengths[row] - targets + t);
    }
    out.push_back(begins[row++]);
  }
  return at::tensor(out, at::kLong).to(batch.tail.device());
}

/// The loss of one fact from its log probabilities [rows * targets + 1, vocab].
at::Tensor fact_loss(Search& fact, std::int64_t rows, const at::Tensor& log_p, double kl_factor,
                     Part& part) {
  const std::int64_t targets = fact.targets();
  const at::Tensor target =
      at::tensor(std::vector<std::int64_t>(fact.rows->target.begin(), fact.rows->target.end()),
                 at::TensorOptions(at::kLong))
          .to(log_p.device())
          .repeat({rows});
  const at::Tensor predicted = log_p.narrow(0, 0, rows * targets);
  const at::Tensor nll = -predicted.gather(1, target.unsqueeze(1)).reshape({rows, targets}).mean(1);
  const at::Tensor values = nll.detach().to(at::kCPU, at::kDouble);
  const auto count = static_cast<double>(rows);
  for (std::int64_t r = 0; r < rows; ++r) {
    const double row = values[r].item<double>();
    part.nll += row;
    part.probability += std::exp(-row);
    part.worst_nll = std::max(part.worst_nll, row);
  }
  part.nll /= count;
  part.probability /= count;
  part.all_first = at::equal(predicted.detach().argmax(1), target);
  const at::Tensor now = log_p.select(0, rows * targets);
  if (!fact.kl_before.defined()) fact.kl_before = now.detach().clone();
  const at::Tensor kl = (now.exp() * (now - fact.kl_before)).sum();
  part.kl = kl.detach().item<double>();
  return nll.sum() / count + kl_factor * kl;
}

/// One pass over the batch: what it says of each fact, and the gradients [facts, d_model].
std::vector<Part> run_pass(const Decoder& model, Batch& batch, std::int64_t layer, double kl_factor,
                           bool with_gradient, at::Tensor& gradients) {
  c10::AutoGradMode grad_mode(with_gradient);
  std::vector<at::Tensor> deltas;
  for (const Search* fact : batch.facts) deltas.push_back(fact->delta);
  const at::Tensor leaf =
      at::stack(deltas).to(batch.tail.options()).clone().set_requires_grad(with_gradient);
  // A delta goes to the first position of its rows' tails: the subject's last token.
  const at::Tensor firsts = at::tensor(begins_of(batch.lengths), at::kLong).to(batch.tail.device());
  const at::Tensor start =
      batch.tail[0].index_add(0, firsts, leaf.index_select(0, owners(batch))).unsqueeze(0);
  Pass pass;
  pass.cache = batch.prefix;
  pass.segments = batch.lengths;
  pass.wanted = predicting(batch);
  const at::Tensor hidden = model.run(start, layer + 1, model.spec().layers, pass);
  const at::Tensor log_p = at::log_softmax(model.head(hidden[0]), -1);
  at::Tensor loss = at::zeros({}, log_p.options());
  std::vector<Part> parts(batch.facts.size());
  std::int64_t at = 0;
  for (std::size_t f = 0; f < batch.facts.size(); ++f) {
    Search& fact = *batch.facts[f];
    const std::int64_t count = batch.rewriting[f] * fact.targets() + 1;
    loss =
        loss + fact_loss(fact, batch.rewriting[f], log_p.narrow(0, at, count), kl_factor, parts[f]);
    at += count;
  }
  if (with_gradient) {
    loss.backward();
    gradients = leaf.grad().to(at::kCPU, at::kDouble);
  }
  return parts;
}

/// Notes the losses of a pass and says whether the search goes on: for `steps` passes at most.
bool goes_on(Search& fact, const Part& part, std::int64_t layer, std::int64_t steps,
             const ValueOptions& options) {
  const double decay =
      options.weight_decay * fact.delta.norm().item<double>() / (fact.norm * fact.norm);
  const double kl = options.kl * part.kl, total = part.nll + kl + decay;
  fact.losses.push_back(at::tensor({total, part.nll, kl, decay, part.probability}, at::kDouble));
  if (!std::isfinite(total)) {
    fail(ErrorKind::kNumeric, "edit",
         fmt::format("the loss is not finite at step {} of layer {}", fact.passes() - 1, layer));
  }
  const bool sure = options.stop_nll > 0 && part.all_first && part.worst_nll < options.stop_nll;
  return fact.passes() < steps && total >= options.stop_loss && !sure;
}

void take_step(Search& fact, at::Tensor gradient, const ValueOptions& options) {
  const double size = fact.delta.norm().item<double>();
  if (size > 0)
    gradient = gradient + options.weight_decay / (fact.norm * fact.norm) / size * fact.delta;
  fact.adam.step(fact.delta, gradient);
  const double grown = fact.delta.norm().item<double>();
  if (grown > options.clamp * fact.norm)
    fact.delta = fact.delta * (options.clamp * fact.norm / grown);
}

/// Passes over a batch until every fact is sure or has had `steps` passes.
void search_batch(const Decoder& model, Batch batch, std::int64_t layer, std::int64_t steps,
                  const ValueOptions& options) {
  while (!batch.facts.empty()) {
    check_interrupted();
    at::Tensor gradients;
    const bool more = std::ranges::any_of(
        batch.facts, [&](const Search* fact) { return fact->passes() + 1 < steps; });
    const auto parts = run_pass(model, batch, layer, options.kl, more, gradients);
    std::vector<bool> keep;
    for (std::size_t f = 0; f < parts.size(); ++f) {
      keep.push_back(goes_on(*batch.facts[f], parts[f], layer, steps, options));
      Search& fact = *batch.facts[f];
      if (keep.back()) take_step(fact, gradients[static_cast<std::int64_t>(f)], options);
      if (!keep.back() && options.found && steps == options.steps)
        options.found(fact.index, fact.losses.back()[0].item<double>(), parts[f].probability);
    }
    if (!std::ranges::all_of(keep, std::identity{})) batch = part_of(batch, keep, INT64_MAX);
  }
}

/// First on few rows of each fact, then on all of them.
void search_chunk(const Decoder& model, Batch batch, std::int64_t layer,
                  const ValueOptions& options) {
  const bool fewer = std::ranges::any_of(
      batch.rewriting, [&](std::int64_t rows) { return rows > options.first_rows; });
  if (options.first_rows > 0 && options.steps > 1 && fewer) {
    const std::vector<bool> all(batch.facts.size(), true);
    search_batch(model, part_of(batch, all, options.first_rows), layer, options.steps / 2, options);
  }
  search_batch(model, std::move(batch), layer, options.steps, options);
}

}  // namespace

void append_rows(const FactRows& fact, std::vector<PromptRow>& rows) {
  rows.insert(rows.end(), fact.rewriting.begin(), fact.rewriting.end());
  rows.push_back(fact.subject_only);
}

std::vector<Value> optimise_values(const Decoder& model, std::span<const FactRows> facts,
                                   const RowStates& states, std::int64_t layer,
                                   const ValueOptions& options) {
  std::vector<Search> searches;
  searches.reserve(facts.size());
  std::vector<Batch> batches;
  std::int64_t row = 0;
  auto chunk = states.chunks.begin();
  for (const FactRows& fact : facts) {
    if (batches.empty() || row == chunk->first + chunk->tail.size(0)) {
      if (!batches.empty()) ++chunk;
      batches.push_back(packed(*chunk));
    }
    const at::Tensor& start =
        options.at_stream ? chunk->tail[row - chunk->first][0] : states.values[row];
    const at::Tensor plain = start.to(at::kCPU, at::kDouble);
    searches.push_back({searches.size(),
                        &fact,
                        plain,
                        plain.norm().item<double>(),
                        at::zeros_like(plain),
                        Adam(plain.sizes(), options.lr),
                        {},
                        {}});
    batches.back().facts.push_back(&searches.back());
    batches.back().rewriting.push_back(std::ssize(fact.rewriting));
    row += std::ssize(fact.rewriting) + 1;
  }
  for_each_chunk(static_cast<std::int64_t>(batches.size()), [&](std::int64_t c) {
    search_chunk(model, std::move(batches[static_cast<std::size_t>(c)]), layer, options);
  });
  std::vector<Value> out;
  for (const Search& fact : searches)
    out.push_back({fact.start + fact.delta, fact.delta, at::stack(fact.losses)});
  return out;
}

Value known_value(const at::Tensor& value, const at::Tensor& start) {
  const at::Tensor found = value.to(at::kCPU, at::kDouble);
  return {found, found - start.to(at::kCPU, at::kDouble), at::zeros({0, 5}, at::kDouble)};
}

Value optimise_value(const Decoder& model, const FactRows& rows, const RowStates& states,
                     std::int64_t layer, const ValueOptions& options) {
  return std::move(optimise_values(model, {&rows, 1}, states, layer, options).front());
}

}  // namespace lancet
