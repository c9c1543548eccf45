// post: and lines: of a recipe (merge/post.h says what they do).
#include <array>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "merge/recipe_reader.h"

namespace lancet {
namespace {

constexpr MergeParameter kSvcAlpha{.name = "alpha",
                                   .fallback = 1,
                                   .minimum = 1e-3,
                                   .maximum = 1e3,
                                   .help = "least share that a direction counts with"};
constexpr MergeParameter kBoostThreshold{.name = "threshold",
                                         .fallback = 0.01,
                                         .minimum = 0,
                                         .maximum = 1,
                                         .help = "share of the singular values' sum left alone"};
constexpr MergeParameter kLinesAlpha{.name = "alpha",
                                     .fallback = kMustBeGiven,
                                     .minimum = -1e6,
                                     .maximum = 1e6,
                                     .help = "factor of the merged delta at the first layer"};
constexpr MergeParameter kLinesBeta{.name = "beta",
                                    .fallback = kMustBeGiven,
                                    .minimum = -1e6,
                                    .maximum = 1e6,
                                    .help = "what the factor grows by up to the last layer"};
constexpr std::string_view kSvc = "svc", kBoost = "subspace_boosting";

}  // namespace

double RecipeReader::number_in(const Node& mapping, const MergeParameter& parameter) const {
  const Node* node = mapping.kind == Node::Kind::kMapping ? mapping.find(parameter.name) : nullptr;
  if (node != nullptr) return scalar(*node, parameter);
  if (parameter.fallback == parameter.fallback) return parameter.fallback;
  refuse(mapping, fmt::format("expected {}, found none", parameter.name),
         fmt::format("{}: {}", parameter.name, parameter.help));
}

RecipePost RecipeReader::post(const Node& node) const {
  RecipePost out;
  out.place = place_of(node);
  if (node.kind == Node::Kind::kScalar) {
    const std::string name = text(node, "post");
    if (name == kSvc) {
      out.svc = kSvcAlpha.fallback;
    } else if (name == kBoost) {
      out.boost = kBoostThreshold.fallback;
    } else {
      std::string hint = did_you_mean(name, {kSvc, kBoost});
      if (hint.empty()) hint = fmt::format("known: {}, {}", kSvc, kBoost);
      refuse(node, fmt::format("unknown post '{}'", printable(name)), std::move(hint));
    }
    return out;
  }
  keys(node, {kSvc, kBoost});
  if (const Node* svc = node.find(kSvc)) {
    if (svc->kind != Node::Kind::kNull) keys(*svc, {kSvcAlpha.name});
    out.svc = number_in(*svc, kSvcAlpha);
  }
  if (const Node* boost = node.find(kBoost)) {
    if (boost->kind != Node::Kind::kNull) keys(*boost, {kBoostThreshold.name});
    out.boost = number_in(*boost, kBoostThreshold);
  }
  return out;
}

RecipePost::Lines RecipeReader::lines(const Node& node) const {
  keys(node, {kLinesAlpha.name, kLinesBeta.name});
  return {number_in(node, kLinesAlpha), number_in(node, kLinesBeta), place_of(node)};
}

}  // namespace lancet
