#include "merge/expression.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

/// constant + sum of factor * model; a model is one of the recipe's names or the result of a call.
struct Affine {
  double constant = 0;
  std::map<std::string, double> factors;

  void add(const Affine& other, double sign) {
    constant += sign * other.constant;
    for (const auto& [name, factor] : other.factors) {
      double& own = factors[name];
      own += sign * factor;
      if (own == 0) factors.erase(name);
    }
  }
  void scale(double factor) {
    constant *= factor;
    for (auto& [name, own] : factors) own *= factor;
    std::erase_if(factors, [](const auto& entry) { return entry.second == 0; });
  }
};

RecipeValue value_of(double value, Place place) {
  RecipeValue out;
  out.place = place;
  out.conditions.push_back({std::nullopt, {value}, place});
  return out;
}

class Parser {
 public:
  Parser(const RecipeReader& reader, const Node& node, const ExpressionNames& models, int& stages)
      : reader_(reader),
        node_(node),
        text_(reader.text(node, "expression")),
        models_(models),
        stages_(stages) {}

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
  const RecipeReader& reader_;
  const Node& node_;
  std::string text_;
  const ExpressionNames& models_;
  int& stages_;
  std::size_t at_ = 0;
  std::string first_;  ///< the first model named: it gives configuration and tokenizer
  std::vector<Recipe> documents_;
  std::map<std::string, RecipeModel> results_;  ///< of calls

  // --- characters ---

  void skip_blanks() {
    while (at_ < text_.size() && std::string_view(" \t\n\r").find(text_[at_]) != std::string::npos)
      ++at_;
  }
  bool done() {
    skip_blanks();
    return at_ == text_.size();
  }
  bool next_is(char c) {
    skip_blanks();
    return at_ < text_.size() && text_[at_] == c;
  }
  bool take(char c) {
    if (!next_is(c)) return false;
    ++at_;
    return true;
  }
  void need(char c) {
    if (!take(c)) refuse(fmt::format("expected '{}', found {}", c, found()));
  }
  std::string rest() const { return printable(text_.substr(at_), 20); }
  std::string found() { return done() ? "the end" : fmt::format("'{}'", rest()); }

  /// The place of text_[at_] in the file, where the scalar stands on one line as it is.
  Node place_at(std::size_t at) const {
    Node out;
    out.line = node_.line;
    const bool one_line = text_.find('\n') == std::string::npos;
    out.column = node_.column + (one_line ? static_cast<int>(at) + (node_.quoted ? 1 : 0) : 0);
    return out;
  }
  [[noreturn]] void refuse(const std::string& message, std::string hint = {}) const {
    reader_.refuse(place_at(at_), fmt::format("expression, character {}: {}", at_ + 1, message),
                   std::move(hint));
  }

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

  double parse_number() {
    double value = 0;
    const char* begin = text_.data() + at_;
    const auto [end, error] = std::from_chars(begin, text_.data() + text_.size(), value);
    if (error != std::errc() || !std::isfinite(value)) refuse("expected a number");
    at_ += static_cast<std::size_t>(end - begin);
    return value;
  }

  std::string parse_name() {
    const auto inside = [](char c) {
      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    };
    skip_blanks();
    const std::size_t begin = at_;
    while (at_ < text_.size() && inside(text_[at_])) ++at_;
    if (at_ == begin) refuse(fmt::format("expected a model or a number, found {}", found()));
    return text_.substr(begin, at_ - begin);
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
    stage.place = {place_at(place).line, place_at(place).column};
    const std::string base = set_sources(stage, arguments, place);
    if (take(';')) parse_parameters(stage, arguments.size());
    need(')');
    RecipeModel result;
    result.text = result.model = stage.name;
    result.place = stage.place;
    results_.emplace(stage.name, result);
    Affine out{0, {{stage.name, 1.0}}};
    if (!base.empty()) out.add({0, {{base, 1.0}}}, -1);
    documents_.push_back(std::move(stage));
    return out;
  }

  RecipeModel named(const std::string& name) const {
    const auto found = models_.find(name);
    return found != models_.end() ? found->second : results_.at(name);
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
    const MergeParameter* weight = find_parameter(method, "weight");
    for (const Argument& each : arguments) {
      RecipeSource source;
      source.model = named(each.model);
      source.place = stage.place;
      if (each.factor != 1 && weight == nullptr) {
        at_ = place;
        refuse(fmt::format("{}: expected plain differences (it has no weights)", method.name));
      }
      if (weight != nullptr && difference)
        source.parameters.emplace("weight", value_of(each.factor, stage.place));
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
    for (const auto& [name, factor] : sum.factors) {
      RecipeSource source;
      source.model = named(name);
      source.place = out.place;
      source.parameters.emplace("weight", value_of(factor, out.place));
      out.models.push_back(std::move(source));
    }
    return out;
  }
};

}  // namespace

std::vector<Recipe> parse_expression(const RecipeReader& reader, const Node& node,
                                     const ExpressionNames& models, int& stages) {
  return Parser(reader, node, models, stages).run();
}

}  // namespace lancet
