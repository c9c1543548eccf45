#include "merge/expression.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/expression_text.h"

namespace lancet {
namespace {

RecipeValue value_of(double value, RecipePlace place) {
  RecipeValue out;
  out.place = place;
  out.conditions.push_back({std::nullopt, {value}, place});
  return out;
}

class Parser : ExpressionText {
 public:
  Parser(const RecipeReader& reader, const Node& node, const ExpressionNames& models, int& stages)
      : ExpressionText(reader, node), models_(models), stages_(stages) {}

  std::vector<Recipe> run() {
    const Affine sum = parse_sum();
    if (!done()) refuse(fmt::format("expected an operator or the end, found '{}'", rest()));
    at_ = 0;
    if (sum.constant != 0)
      refuse(fmt::format("expected a sum of models, found the number {} in it", sum.constant));
    if (sum.factors.empty()) refuse("expected a sum of models, found one in which all cancel");
    documents_.push_back(document_of(sum));
    return std::move(documents_);
  }

 private:
  const ExpressionNames& models_;
  int& stages_;
  std::string first_;  ///< the first model named: it gives configuration and tokenizer
  std::vector<Recipe> documents_;
  std::map<std::string, RecipeModel> results_;  ///< of calls

  // --- grammar ---

  Affine parse_sum() {
    Affine out = parse_product();
    while (next_is('+') || next_is('-')) {
      const double sign = text_[at_++] == '+' ? 1 : -1;
      out.add(parse_product(), sign);
    }
    return out;
  }

  Affine parse_product() {
    Affine out = parse_factor();
    while (next_is('*') || next_is('/')) {
      const std::size_t place = at_;
      const bool divide = text_[at_++] == '/';
      Affine other = parse_factor();
      if (!divide && out.factors.empty()) std::swap(out, other);
      const bool number = other.factors.empty();
      if (number && !(divide && other.constant == 0)) {
        out.scale(divide ? 1 / other.constant : other.constant);
        continue;
      }
      at_ = place;
      refuse(divide ? "expected a number other than 0 to divide by"
                    : "expected a number on one side of '*', found models on both");
    }
    return out;
  }

  Affine parse_factor() {
    if (take('+')) return parse_factor();
    if (take('-')) {
      Affine out = parse_factor();
      out.scale(-1);
      return out;
    }
    if (take('(')) {
      Affine out = parse_sum();
      need(')');
      return out;
    }
    if (done()) refuse("expected a model or a number, found the end");
    const char c = text_[at_];
    if ((c >= '0' && c <= '9') || c == '.') return {parse_number(), {}};
    const std::size_t place = at_;
    const std::string name = parse_name();
    if (take('(')) return parse_call(name, place);
    return model(name, place);
  }

  Affine model(const std::string& name, std::size_t place) {
    if (models_.contains(name)) {
      if (first_.empty()) first_ = name;
      return {0, {{name, 1.0}}};
    }
    std::vector<std::string_view> known;
    for (const auto& [each, unused] : models_) known.push_back(each);
    std::string hint = did_you_mean(name, known);
    if (hint.empty()) hint = fmt::format("models of this recipe: {}", fmt::join(known, ", "));
    at_ = place;
    refuse(fmt::format("unknown model '{}'", printable(name)), std::move(hint));
  }

  // --- calls ---

  /// factor * (model - base), or the model itself where `base` is empty.
  struct Argument {
    std::string model, base;
    double factor = 1;
  };

  const Method& method_of(const std::string& name, std::size_t place) {
    if (const Method* method = find_merge_method(name)) return *method;
    std::vector<std::string_view> known;
    for (const Method* method : merge_method_registry()) known.push_back(method->name);
    at_ = place;
    refuse(fmt::format("unknown method '{}'", printable(name)), did_you_mean(name, known));
  }

  /// The model that all `sums` are differences from: what they share, the subtracted one of the
  /// first where they share both. Empty where the first is no difference.
  static std::string base_of(const std::vector<Affine>& sums) {
    std::string base;
    if (sums[0].factors.size() != 2) return base;
    for (const auto& [name, factor] : sums[0].factors) {
      const bool shared = std::ranges::all_of(
          sums, [&wanted = name](const Affine& sum) { return sum.factors.contains(wanted); });
      if (shared && (base.empty() || factor < 0)) base = name;
    }
    return base;
  }

  std::vector<Argument> parse_arguments() {
    std::vector<Affine> sums;
    std::vector<std::size_t> places;
    do {
      skip_blanks();
      places.push_back(at_);
      sums.push_back(parse_sum());
    } while (take(','));
    const std::string base = base_of(sums);
    std::vector<Argument> out;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      const auto& factors = sums[i].factors;
      for (const auto& [name, factor] : factors) {
        if (name != base) out.push_back({name, base, factor});
      }
      const bool model = base.empty() && factors.size() == 1 && factors.begin()->second == 1;
      const bool difference = !base.empty() && factors.size() == 2 && factors.contains(base) &&
                              factors.at(base) == -out.back().factor;
      if (sums[i].constant == 0 && (model || difference)) continue;
      at_ = places[i];
      refuse(base.empty()
                 ? "expected models, or differences that share one model, found another sum"
                 : fmt::format("expected a difference from '{}', found another sum", base),
             "a method takes models (a, b), or differences from one model (a - base, b - base)");
    }
    return out;
  }

  Affine parse_call(const std::string& name, std::size_t place) {
    const Method& method = method_of(name, place);
    std::vector<Argument> arguments = parse_arguments();
    Recipe stage;
    stage.method = &method;
    stage.name = fmt::format("{}() number {} of the expressions", name, ++stages_);
    stage.dtype = "float64";
    stage.call = true;
    stage.place = {place_at(place).line, place_at(place).column};
    const std::string base = set_sources(stage, arguments, place);
    if (take(';')) parse_parameters(stage, arguments.size());
    need(')');
    static_cast<void>(result_of(stage));
    Affine out{0, {{stage.name, 1.0}}};
    if (!base.empty()) out.add({0, {{base, 1.0}}}, -1);
    documents_.push_back(std::move(stage));
    return out;
  }

  RecipeModel named(const std::string& name) const {
    const auto found = models_.find(name);
    return found != models_.end() ? found->second : results_.at(name);
  }

  RecipeSource part(const std::string& name, double weight, RecipePlace place) const {
    RecipeSource out;
    out.model = named(name);
    out.place = place;
    out.parameters.emplace("weight", value_of(weight, place));
    return out;
  }

  RecipeModel result_of(const Recipe& stage) {
    RecipeModel out;
    out.text = out.model = stage.name;
    out.place = stage.place;
    results_.emplace(stage.name, out);
    return out;
  }

  /// base + factor * (model - base), as a document of its own: the model whose difference from the
  /// base the argument is.
  RecipeModel moved_model(const Argument& argument, RecipePlace place) {
    Recipe stage;
    stage.method = find_merge_method("linear");
    stage.name =
        fmt::format("difference times {} number {} of the expressions", argument.factor, ++stages_);
    stage.dtype = "float64";
    stage.call = true;
    stage.place = place;
    stage.base = named(argument.base);
    stage.parameters.emplace("normalize", value_of(0, place));
    stage.models.push_back(part(argument.base, 1 - argument.factor, place));
    stage.models.push_back(part(argument.model, argument.factor, place));
    RecipeModel out = result_of(stage);
    documents_.push_back(std::move(stage));
    return out;
  }

  /// Models and base of a call; returns the base that its result is a difference from, or "".
  std::string set_sources(Recipe& stage, std::vector<Argument>& arguments, std::size_t place) {
    const Method& method = *stage.method;
    std::string base = arguments[0].base;
    const bool difference = !base.empty();
    if (!difference && method.base == BaseUse::kRequired && method.max_models == 1) {
      base = arguments[0].model;  // slerp(a, b)
      arguments.erase(arguments.begin());
    } else if (difference == (method.base == BaseUse::kNone) ||
               (!difference && method.base == BaseUse::kRequired)) {
      at_ = place;
      refuse(fmt::format("{}: expected {}", method.name,
                         difference ? "models, found differences" : "differences, found models"),
             fmt::format("say {0}({1}, {2})", method.name, difference ? "a" : "a - base",
                         difference ? "b" : "b - base"));
    }
    const bool weighted = difference && find_parameter(method, "weight") != nullptr;
    for (const Argument& each : arguments) {
      RecipeSource source;
      source.model = each.factor == 1 ? named(each.model) : moved_model(each, stage.place);
      source.place = stage.place;
      if (weighted) source.parameters.emplace("weight", value_of(1, stage.place));
      stage.models.push_back(std::move(source));
    }
    if (!base.empty()) stage.base = named(base);
    return difference ? base : "";
  }

  /// density=0.3, weight=[0.5, 0.2]
  void parse_parameters(Recipe& stage, std::size_t arguments) {
    std::vector<std::string_view> known;
    for (const MergeParameter& each : stage.method->parameters) known.push_back(each.name);
    do {
      const std::size_t place = (skip_blanks(), at_);
      const std::string name = parse_name();
      const MergeParameter* parameter = find_parameter(*stage.method, name);
      if (parameter == nullptr) {
        at_ = place;
        refuse(fmt::format("unknown parameter '{}' of the method {}", name, stage.method->name),
               did_you_mean(name, known));
      }
      need('=');
      if (!take('[')) {
        const RecipeValue value = parse_value(*parameter);
        for (RecipeSource& source : stage.models) source.parameters.erase(name);
        stage.parameters.insert_or_assign(name, value);
        continue;
      }
      std::vector<RecipeValue> values;
      do {
        values.push_back(parse_value(*parameter));
      } while (take(','));
      need(']');
      if (!parameter->per_model || values.size() != arguments ||
          values.size() != stage.models.size()) {
        at_ = place;
        refuse(
            fmt::format("{}: expected {}, found {} values", name,
                        parameter->per_model ? "one value, or one for each argument" : "one value",
                        values.size()));
      }
      for (std::size_t i = 0; i < values.size(); ++i)
        stage.models[i].parameters.insert_or_assign(name, values[i]);
    } while (take(','));
  }

  RecipeValue parse_value(const MergeParameter& parameter) {
    skip_blanks();
    const std::size_t begin = at_;
    while (at_ < text_.size() &&
           std::string_view(",;)] \t\n").find(text_[at_]) == std::string::npos)
      ++at_;
    Node node = place_at(begin);
    node.kind = Node::Kind::kScalar;
    node.scalar = text_.substr(begin, at_ - begin);
    return value_of(reader_.scalar(node, parameter), place_of(node));
  }

  // --- result ---

  Recipe document_of(const Affine& sum) const {
    Recipe out;
    out.method = find_merge_method("linear");
    out.place = place_of(node_);
    out.base = models_.at(first_);
    out.parameters.emplace("normalize", value_of(0, out.place));
    for (const auto& [name, factor] : sum.factors)
      out.models.push_back(part(name, factor, out.place));
    return out;
  }
};

}  // namespace

std::vector<Recipe> parse_expression(const RecipeReader& reader, const Node& node,
                                     const ExpressionNames& models, int& stages) {
  return Parser(reader, node, models, stages).run();
}

}  // namespace lancet
