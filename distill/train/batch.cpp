#include "distill/train/batch.h"

namespace lancet {
namespace {

class Builder {
 public:
  void add(const Example& example) {
    const auto begin = static_cast<std::int64_t>(ids_.size());
    ids_.insert(ids_.end(), example.ids.begin(), example.ids.end());
    out_.segments.push_back(static_cast<std::int64_t>(example.ids.size()));
    out_.lines.push_back(example.line);
    out_.targets.sequence_begin.push_back(static_cast<std::int64_t>(out_.rows.size()));
    std::size_t target = 0;
    for (std::size_t t = 1; t < example.ids.size(); ++t) {
      if (example.target[t] == 0) continue;
      out_.rows.push_back(begin + static_cast<std::int64_t>(t) - 1);
      out_.targets.next.push_back(example.ids[t]);
      add_teacher(example.teacher.empty() ? nullptr : &example.teacher[target]);
      ++target;
    }
  }

  [[nodiscard]] MicroBatch take(bool pairs) {
    LossTargets& targets = out_.targets;
    targets.sequence_begin.push_back(static_cast<std::int64_t>(out_.rows.size()));
    if (!taught_) targets.top_begin.clear();
    if (taught_) targets.top_begin.push_back(static_cast<std::int64_t>(targets.top_ids.size()));
    out_.ids = at::tensor(at::ArrayRef<std::int32_t>(ids_), at::kInt).to(at::kLong).unsqueeze(0);
    out_.count = pairs ? static_cast<std::int64_t>(out_.segments.size() / 2)
                       : static_cast<std::int64_t>(out_.rows.size());
    return std::move(out_);
  }

 private:
  void add_teacher(const TopK* top) {
    LossTargets& targets = out_.targets;
    targets.top_begin.push_back(static_cast<std::int64_t>(targets.top_ids.size()));
    if (top == nullptr) return;
    taught_ = true;
    targets.top_ids.insert(targets.top_ids.end(), top->ids.begin(), top->ids.end());
    targets.top_logprobs.insert(targets.top_logprobs.end(), top->logprobs.begin(),
                                top->logprobs.end());
  }

  MicroBatch out_;
  std::vector<std::int32_t> ids_;
  bool taught_ = false;
};

}  // namespace

MicroBatch make_batch(const Dataset& data, const Pack& pack, bool pairs) {
  Builder builder;
  for (const std::size_t row : pack.examples) {
    if (pairs) {
      const Preference both = data.preference(row);
      builder.add(both.chosen);
      builder.add(both.rejected);
    } else {
      builder.add(data.example(row));
    }
  }
  return builder.take(pairs);
}

MicroBatch make_batch(const std::vector<Example>& examples) {
  Builder builder;
  for (const Example& each : examples) builder.add(each);
  return builder.take(false);
}

std::int64_t batch_count(const Dataset& data, const Pack& pack, bool pairs) {
  if (pairs) return static_cast<std::int64_t>(pack.examples.size());
  std::int64_t count = 0;
  for (const std::size_t row : pack.examples) count += data.targets()[row];
  return count;
}

}  // namespace lancet
