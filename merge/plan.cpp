#include "merge/plan.h"

#include <algorithm>
#include <iterator>
#include <set>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/ops/convert.h"
#include "merge/planner.h"
#include "merge/post.h"

namespace lancet {
namespace {

/// Values as they are after a cast to the recipe's dtype: mergekit casts on loading.
class RoundedReader final : public TensorReader {
 public:
  RoundedReader(std::unique_ptr<TensorReader> reader, DType dtype)
      : TensorReader(reader->label(), reader->shape()), reader_(std::move(reader)), dtype_(dtype) {}
  void read(std::uint64_t begin, std::span<double> out) const override {
    reader_->read(begin, out);
    std::vector<std::byte> stored(dtype_bytes(dtype_, out.size()).value());
    const bool fits =
        ops::store_values(dtype_, out, stored) && ops::load_values(dtype_, stored, out);
    if (!fits) fail_not_finite(*this, begin, out);
  }
  void prefetch(std::uint64_t begin, std::uint64_t end) const noexcept override {
    reader_->prefetch(begin, end);
  }
  void release(std::uint64_t begin, std::uint64_t end) const noexcept override {
    reader_->release(begin, end);
  }

 private:
  std::unique_ptr<TensorReader> reader_;
  DType dtype_;
};

/// The result of an earlier document, computed when it is read.
class StageReader final : public TensorReader {
 public:
  StageReader(const MergePlan& plan, const PlannedTensor& tensor, std::string_view stage)
      : TensorReader(
            fmt::format("tensor '{}' of stage '{}'", printable(tensor.name), printable(stage)),
            tensor.shape),
        dtype_(tensor.dtype),
        bound_(plan, tensor) {}
  void read(std::uint64_t begin, std::span<double> out) const override {
    bound_.task().emit_values(bound_.emit(), begin, out);
    std::vector<std::byte> stored(dtype_bytes(dtype_, out.size()).value());
    const bool fits =
        ops::store_values(dtype_, out, stored) && ops::load_values(dtype_, stored, out);
    if (!fits) fail_not_finite(*this, begin, out);
  }

 private:
  DType dtype_;
  BoundTensor bound_;
};

class StageInput final : public MergeInput {
 public:
  StageInput(std::string name, std::shared_ptr<const MergePlan> plan)
      : MergeInput(std::move(name)), plan_(std::move(plan)) {
    for (const PlannedTensor& tensor : plan_->tensors)
      tensors_.push_back({tensor.name, tensor.shape, tensor.dtype, tensor.kept});
  }
  const std::vector<InputTensor>& tensors() const noexcept override { return tensors_; }
  std::unique_ptr<TensorReader> reader(const InputTensor& tensor) const override {
    return std::make_unique<StageReader>(*plan_, planned(tensor), text());
  }
  Bytes raw(const InputTensor& tensor) const override {
    const PlannedTensor& own = planned(tensor);
    return own.copied ? plan_->inputs[own.models.at(0).input]->raw(*own.models[0].tensor) : Bytes();
  }
  const Json& config() const noexcept override { return plan_->config; }
  std::map<std::string, std::string> side_files() const override { return plan_->side_files; }
  std::optional<std::string> chat_template() const override {
    const auto found = plan_->side_files.find("chat_template.jinja");
    return found == plan_->side_files.end() ? std::nullopt : std::optional(found->second);
  }
  std::vector<fs::path> files() const override {
    std::vector<fs::path> out;
    for (const auto& input : plan_->inputs)
      std::ranges::move(input->files(), std::back_inserter(out));
    return out;
  }
  Json identity() const override {
    Json inputs = Json::array();
    for (const auto& input : plan_->inputs) inputs.push_back(input->identity());
    return {{"stage", text()}, {"inputs", inputs}};
  }
  void add_hashes(Json& identity) const override {
    for (std::size_t i = 0; i < plan_->inputs.size(); ++i)
      plan_->inputs[i]->add_hashes(identity["inputs"][i]);
  }

 private:
  std::shared_ptr<const MergePlan> plan_;
  std::vector<InputTensor> tensors_;

  const PlannedTensor& planned(const InputTensor& tensor) const {
    return *std::ranges::lower_bound(plan_->tensors, tensor.name, {}, &PlannedTensor::name);
  }
};

/// Documents in an order in which each comes after those it names; the result last.
class StageOrder {
 public:
  explicit StageOrder(const RecipeFile& file) : file_(file) {
    for (std::size_t i = 0; i < file.documents.size(); ++i) {
      if (!file.documents[i].name.empty()) by_name_.emplace(file.documents[i].name, i);
    }
  }

  std::vector<std::size_t> order() {
    std::size_t result = file_.documents.size() - 1;
    for (std::size_t i = 0; i < file_.documents.size(); ++i) {
      if (file_.documents[i].name.empty()) result = i;
    }
    for (std::size_t i = 0; i < file_.documents.size(); ++i) {
      if (i != result) visit(i);
    }
    visit(result);
    return std::move(order_);
  }

 private:
  const RecipeFile& file_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::vector<std::size_t> order_;
  std::set<std::size_t> done_, open_;

  void visit(std::size_t i) {
    if (done_.contains(i)) return;
    const Recipe& recipe = file_.documents[i];
    if (!open_.insert(i).second) {
      fail(ErrorKind::kUsage, "merge",
           fmt::format("{}:{}:{}: document '{}' needs itself", printable(file_.source, 400),
                       recipe.place.line, recipe.place.column, printable(recipe.name)));
    }
    for_each_model(recipe, [&](const RecipeModel& model) {
      const auto stage = by_name_.find(model.text);
      if (stage != by_name_.end()) visit(stage->second);
    });
    open_.erase(i);
    done_.insert(i);
    order_.push_back(i);
  }
};

std::unique_ptr<TensorReader> open_rows(const MergePlan& plan, const PlannedSource& source) {
  std::vector<std::unique_ptr<TensorReader>> readers(plan.inputs.size());
  for (std::size_t i = 0; i < readers.size(); ++i) {
    if (source.donors[i] != nullptr) readers[i] = plan.inputs[i]->reader(*source.donors[i]);
  }
  return token_reader(std::move(readers), source.rows,
                      fmt::format("tensor '{}'", printable(source.tensor->name)));
}

}  // namespace

std::vector<std::int64_t> PlannedSource::shape() const {
  std::vector<std::int64_t> out = tensor->shape;
  if (rows) out[0] = rows->rows();
  return out;
}

std::uint64_t PlannedTensor::elements() const noexcept {
  std::uint64_t n = 1;
  for (const std::int64_t d : shape) n *= static_cast<std::uint64_t>(d);
  return n;
}

std::uint64_t PlannedTensor::bytes() const { return dtype_bytes(dtype, elements()).value(); }

std::uint64_t MergePlan::bytes_read() const {
  std::uint64_t bytes = 0;
  const auto add = [&](const PlannedSource& source) {
    TensorInfo info;
    info.shape = source.tensor->shape;
    bytes += dtype_bytes(source.tensor->dtype, info.elements()).value_or(0);
  };
  for (const PlannedTensor& tensor : tensors) {
    if (tensor.base) add(*tensor.base);
    for (const PlannedSource& source : tensor.models) add(source);
  }
  return bytes;
}

std::uint64_t MergePlan::bytes_written() const {
  std::uint64_t bytes = 0;
  for (const PlannedTensor& tensor : tensors) bytes += tensor.bytes();
  return bytes;
}

namespace {

/// Every tensor of a plan that is computed.
class PlannedTasks final : public MergeTasks {
 public:
  explicit PlannedTasks(const MergePlan& plan) : plan_(plan) {
    for (const PlannedTensor& tensor : plan.tensors) {
      if (!tensor.copied) tensors_.push_back(&tensor);
    }
  }
  std::size_t size() const override { return tensors_.size(); }
  void visit(std::size_t i, const std::function<void(const MergeTask&)>& visit) const override {
    visit(BoundTensor(plan_, *tensors_[i]).task());
  }

 private:
  const MergePlan& plan_;
  std::vector<const PlannedTensor*> tensors_;
};

}  // namespace

const std::vector<double>& MergePlan::survey() const {
  std::call_once(surveyed_, [&] { survey_ = method->survey(PlannedTasks(*this)); });
  return survey_;
}

bool needs_linalg(const RecipeFile& file) {
  return std::ranges::any_of(file.documents, [](const Recipe& recipe) {
    return recipe.method->needs_linalg || recipe.post.needs_linalg();
  });
}

namespace {

/// A tokenizer source that is no model may be meant for a word.
std::unique_ptr<MergeInput> open_named(const RecipeFile& file, const Recipe& recipe,
                                       const RecipeModel& model) {
  try {
    return open_input(model, file.directory);
  } catch (const Error& error) {
    const bool source =
        recipe.tokenizer && recipe.tokenizer->model && recipe.tokenizer->model->text == model.text;
    const std::string hint = source ? did_you_mean(model.text, {"union", "base"}) : "";
    if (error.kind() != ErrorKind::kInput || hint.empty()) throw;
    const RecipePlace place = recipe.tokenizer->model->place;
    fail(ErrorKind::kUsage, "merge",
         fmt::format("{}:{}:{}: tokenizer source: expected union, base or a model, found '{}'",
                     printable(file.source, 400), place.line, place.column, printable(model.text)),
         hint);
  }
}

}  // namespace

std::shared_ptr<const MergePlan> plan_merge(const RecipeFile& file, const MergeOptions& options) {
  std::map<std::string, std::shared_ptr<const MergeInput>, std::less<>> opened;
  std::shared_ptr<const MergePlan> plan;
  const std::vector<std::size_t> order = StageOrder(file).order();
  for (const std::size_t i : order) {
    const Recipe& recipe = file.documents[i];
    for_each_model(recipe, [&](const RecipeModel& model) {
      if (!opened.contains(model.text)) opened.emplace(model.text, open_named(file, recipe, model));
    });
    MergeOptions own = options;
    if (i != order.back()) own.dtype.reset();  // --dtype is of the result
    plan = plan_document(file, recipe, opened, own);
    if (!recipe.name.empty())
      opened.insert_or_assign(recipe.name, std::make_shared<StageInput>(recipe.name, plan));
  }
  return plan;
}

BoundTensor::BoundTensor(const MergePlan& plan, const PlannedTensor& tensor)
    : method_(*plan.method), post_(plan.post), delta_scale_(tensor.delta_scale) {
  const auto open = [&](const PlannedSource& source) -> const TensorReader* {
    auto reader =
        source.rows ? open_rows(plan, source) : plan.inputs[source.input]->reader(*source.tensor);
    if (plan.load_dtype && *plan.load_dtype != source.tensor->dtype) {
      reader = std::make_unique<RoundedReader>(std::move(reader), *plan.load_dtype);
    }
    readers_.push_back(std::move(reader));
    return readers_.back().get();
  };
  const TensorReader* base = tensor.base ? open(*tensor.base) : nullptr;
  std::vector<TaskModel> models;
  for (const PlannedSource& source : tensor.models) {
    models.push_back({open(source), plan.inputs[source.input]->text(), source.values});
  }
  task_ = std::make_unique<MergeTask>(method_, tensor.name, std::move(models), base, tensor.values,
                                      plan.options.semantics, plan.options.seed);
  task_->set_context({.linalg = plan.options.linalg,
                      .embedding = tensor.embedding,
                      .transposed = tensor.transposed,
                      .survey = [&plan]() -> const std::vector<double>& { return plan.survey(); }});
}

const Emit& BoundTensor::emit() const {
  std::call_once(prepared_, [&] {
    emit_ = apply_post(*task_, method_, post_, method_.prepare(*task_));
    if (delta_scale_ != 1) emit_ = scale_delta(std::move(emit_), delta_scale_);
  });
  return emit_;
}

}  // namespace lancet
