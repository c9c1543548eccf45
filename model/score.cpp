#include "model/score.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <span>

#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/progress.h"
#include "core/seconds.h"
#include "model/runtime.h"

namespace lancet {
namespace {

constexpr std::int64_t kJobTokens = 512;  ///< rows are put together up to this many padded tokens

/// A row of a pass: `ids` without its last token go in, tokens [first_target, ids.size()) are
/// scored.
struct Row {
  std::vector<std::int32_t> ids;
  std::int64_t first_target = 1;
  std::size_t text = 0;  ///< index of the text, or of the pair

  [[nodiscard]] std::int64_t inputs() const { return static_cast<std::int64_t>(ids.size()) - 1; }
};

using Job = std::vector<std::size_t>;  ///< indices of rows that share a pass

/// Rows of like length together, so that little is padded. Depends on the lengths alone.
std::vector<Job> make_jobs(const std::vector<Row>& rows) {
  std::vector<std::size_t> order(rows.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::stable_sort(
      order, [&](std::size_t a, std::size_t b) { return rows[a].inputs() > rows[b].inputs(); });
  std::vector<Job> jobs;
  std::int64_t width = 0;
  for (const std::size_t row : order) {
    if (jobs.empty() || static_cast<std::int64_t>(jobs.back().size() + 1) * width > kJobTokens) {
      jobs.emplace_back();
      width = rows[row].inputs();
    }
    jobs.back().push_back(row);
  }
  return jobs;
}

/// A job as tokens that go in and tokens that are asked for.
struct Batch {
  at::Tensor ids;
  std::vector<std::int64_t> lengths;
  std::vector<std::int64_t> positions;  ///< of the flattened hidden states that predict a target
  std::vector<std::int32_t> targets;

  Batch(const std::vector<Row>& rows, const Job& job) {
    const auto batch = static_cast<std::int64_t>(job.size());
    const std::int64_t width = rows[job.front()].inputs();
    ids = at::zeros({batch, width}, at::kLong);
    for (std::int64_t b = 0; b < batch; ++b) {
      const Row& row = rows[job[static_cast<std::size_t>(b)]];
      std::copy_n(row.ids.begin(), row.inputs(), ids.mutable_data_ptr<std::int64_t>() + b * width);
      lengths.push_back(row.inputs());
      for (std::int64_t t = row.first_target; t <= row.inputs(); ++t) {
        positions.push_back(b * width + t - 1);
        targets.push_back(row.ids[static_cast<std::size_t>(t)]);
      }
    }
  }

  [[nodiscard]] Pass pass() const {
    return {.cache = nullptr, .append = false, .lengths = lengths, .hook = {}};
  }
};

/// All rows of one model, as scores of their targets.
class Scoring {
 public:
  Scoring(const Decoder& model, const std::vector<Row>& rows, Progress* progress)
      : model_(model),
        rows_(rows),
        jobs_(make_jobs(rows)),
        progress_(progress),
        out_(rows.size()) {}

  std::vector<std::vector<TargetScore>> run() {
    const std::size_t step =
        model_.offloaded()
            ? std::max<std::size_t>(
                  1, kHeldBytes / static_cast<std::size_t>(kJobTokens * model_.spec().d_model * 4))
            : jobs_.size();
    for (std::size_t first = 0; first < jobs_.size(); first += step) {
      const std::size_t count = std::min(step, jobs_.size() - first);
      model_.offloaded() ? by_layers(first, count) : by_jobs(first, count);
    }
    return std::move(out_);
  }

 private:
  /// Hidden states of jobs whose weights are read layer by layer.
  static constexpr std::size_t kHeldBytes = std::size_t{256} << 20;

  /// Several jobs side by side where there are enough of them, else LibTorch's pool inside each.
  void each(std::size_t count, const std::function<void(std::size_t)>& body) const {
    const auto guarded = [&](std::int64_t i) {
      const c10::InferenceMode inference;
      check_interrupted();
      body(static_cast<std::size_t>(i));
    };
    const auto jobs = static_cast<std::int64_t>(count);
    if (model_.options().device().is_cpu() && jobs >= at::get_num_threads()) {
      for_each_chunk(jobs, guarded);
    } else {
      for (std::int64_t i = 0; i < jobs; ++i) guarded(i);
    }
  }

  void by_jobs(std::size_t first, std::size_t count) {
    each(count, [&](std::size_t i) {
      const Batch batch(rows_, jobs_[first + i]);
      take(first + i, batch,
           model_.run(model_.embed(batch.ids), 0, model_.spec().layers, batch.pass()));
    });
  }

  /// The same passes, all of them through one layer before the next: each is read once.
  void by_layers(std::size_t first, std::size_t count) {
    std::vector<Batch> batches;
    for (std::size_t i = 0; i < count; ++i) batches.emplace_back(rows_, jobs_[first + i]);
    std::vector<at::Tensor> hidden(count);
    each(count, [&](std::size_t i) { hidden[i] = model_.embed(batches[i].ids); });
    for (std::int64_t layer = 0; layer < model_.spec().layers; ++layer) {
      each(count, [&](std::size_t i) {
        hidden[i] = model_.run(hidden[i], layer, layer + 1, batches[i].pass());
      });
    }
    each(count, [&](std::size_t i) { take(first + i, batches[i], hidden[i]); });
  }

  void take(std::size_t index, const Batch& batch, const at::Tensor& hidden) {
    const Job& job = jobs_[index];
    const at::Tensor at = at::tensor(batch.positions, at::kLong).to(hidden.device());
    const auto scores =
        model_.score_targets(hidden.flatten(0, 1).index_select(0, at), batch.targets);
    auto next = scores.begin();
    for (const std::size_t row : job) {
      const auto count = rows_[row].inputs() + 1 - rows_[row].first_target;
      out_[row].assign(next, next + count);
      next += count;
    }
    if (progress_ != nullptr) progress_->advance(scores.size());
  }

  const Decoder& model_;
  const std::vector<Row>& rows_;
  std::vector<Job> jobs_;
  Progress* progress_;
  std::vector<std::vector<TargetScore>> out_;
};

std::vector<std::vector<TargetScore>> run_rows(const Decoder& model, const std::vector<Row>& rows,
                                               Progress* progress) {
  return Scoring(model, rows, progress).run();
}

/// Windows of one text: inputs [begin, begin + window), each token scored by the first window that
/// predicts it.
void add_windows(const std::vector<std::int32_t>& ids, std::int64_t window, std::int64_t stride,
                 std::size_t text, std::vector<Row>& rows) {
  const auto size = static_cast<std::int64_t>(ids.size());
  std::int64_t scored = 1;  // tokens before this one are scored, or context only
  for (std::int64_t begin = 0; scored < size; begin += stride) {
    const std::int64_t end = std::min(begin + window + 1, size);
    rows.push_back({{ids.begin() + begin, ids.begin() + end}, scored - begin, text});
    scored = end;
  }
}

std::pair<std::int64_t, std::int64_t> window_of(const Decoder& model, const ScoreRequest& request) {
  const std::int64_t window = request.window > 0
                                  ? request.window
                                  : std::min<std::int64_t>(model.spec().max_positions, 2048);
  const std::int64_t stride = request.stride > 0 ? request.stride : window;
  if (request.window < 0 || request.stride < 0 || stride > window) {
    fail(ErrorKind::kUsage, "score",
         "expected 1 <= stride <= window, found stride " + std::to_string(request.stride) +
             " and window " + std::to_string(request.window));
  }
  return {window, stride};
}

}  // namespace

ScoreResult score(const Decoder& model, const Tokenizer& tokenizer, const ScoreRequest& request) {
  const auto [window, stride] = window_of(model, request);
  std::vector<Row> rows;
  for (std::size_t i = 0; i < request.texts.size(); ++i) {
    add_windows(tokenizer.encode(request.texts[i]).ids, window, stride, i, rows);
  }
  ScoreResult result;
  for (const Row& row : rows) result.tokens += row.inputs() + 1 - row.first_target;
  if (result.tokens == 0) {
    fail(ErrorKind::kInput, "score",
         "expected a text of at least two tokens, found nothing to predict");
  }
  const Timer timer;
  Progress progress("score", static_cast<std::uint64_t>(result.tokens), Progress::Unit::kTokens);
  const auto scores = run_rows(model, rows, &progress);
  progress.finish();
  const double seconds = timer.seconds();
  double sum = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t t = 0; t < scores[i].size(); ++t) {
      sum -= scores[i][t].logprob;
      if (!request.per_token) continue;
      const std::int32_t id = rows[i].ids[static_cast<std::size_t>(rows[i].first_target) + t];
      result.per_token.push_back(
          {id, tokenizer.decode({id}, false), scores[i][t].logprob, scores[i][t].rank});
    }
  }
  result.nll = sum / static_cast<double>(result.tokens);
  result.perplexity = std::exp(result.nll);
  result.tokens_per_second = static_cast<double>(result.tokens) / seconds;
  if (!std::isfinite(result.nll)) {
    fail(ErrorKind::kNumeric, "score", "expected finite log probabilities, found NaN or infinity",
         "the weights may be damaged: lancet inspect MODEL --stats");
  }
  return result;
}

std::vector<TextScore> score_each(const Decoder& model, const Tokenizer& tokenizer,
                                  const std::vector<std::string>& texts) {
  const auto [window, stride] = window_of(model, {});
  std::vector<Row> rows;
  for (std::size_t i = 0; i < texts.size(); ++i)
    add_windows(tokenizer.encode(texts[i]).ids, window, stride, i, rows);
  std::vector<TextScore> out(texts.size());
  if (rows.empty()) return out;
  const auto scores = run_rows(model, rows, nullptr);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    TextScore& text = out[rows[i].text];
    for (const TargetScore& score : scores[i]) text.nll -= score.logprob;
    text.tokens += static_cast<std::int64_t>(scores[i].size());
  }
  return out;
}

std::vector<ContinuationScore> score_continuations(
    const Decoder& model,
    const std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>>& pairs) {
  std::vector<Row> rows;
  for (std::size_t i = 0; i < pairs.size(); ++i) {
    const auto& [context, target] = pairs[i];
    if (context.empty()) {
      fail(ErrorKind::kInput, "score",
           "expected at least one token of context, found none (pair " + std::to_string(i) + ")");
    }
    if (target.empty()) continue;
    Row row{context, static_cast<std::int64_t>(context.size()), i};
    row.ids.insert(row.ids.end(), target.begin(), target.end());
    rows.push_back(std::move(row));
  }
  std::vector<ContinuationScore> out(pairs.size());
  if (rows.empty()) return out;
  const auto scores = run_rows(model, rows, nullptr);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (const TargetScore& score : scores[i]) {
      out[rows[i].text].logprobs.push_back(score.logprob);
      out[rows[i].text].ranks.push_back(score.rank);
    }
  }
  return out;
}

}  // namespace lancet
