#include "distill/teacher/http.h"

#include <curl/curl.h>
#include <strings.h>

#include <algorithm>
#include <array>
#include <mutex>
#include <utility>
#include <vector>

#include "core/error.h"

namespace lancet {
namespace {

using Clock = std::chrono::steady_clock;
using Failure = HttpResponse::Failure;

constexpr std::size_t kMaxHeaderBytes = 256 << 10;
constexpr auto kIdleCheck = std::chrono::milliseconds(200);

/// curl_global_init is not thread-safe in every build: once, before the first pool.
void init_curl() {
  static std::once_flag once;
  std::call_once(once, [] {
    if (curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
      fail(ErrorKind::kInternal, "http", "libcurl could not be initialised");
  });
}

struct Transfer {
  CURL* easy = nullptr;
  curl_slist* headers = nullptr;
  HttpRequest request;
  HttpResponse response;
  HttpPool::Done done;
  std::size_t header_bytes = 0;
  Clock::time_point last_byte;
  bool got_byte = false;
  bool too_large = false;
  bool idle = false;
  int sends = 0;
  std::array<char, CURL_ERROR_SIZE> error{};
};

std::size_t on_body(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  if (transfer.response.body.size() + size > transfer.request.max_bytes) {
    transfer.too_large = true;
    return 0;  // ends the transfer: a decompression bomb grows no further
  }
  transfer.response.body.append(data, size);
  transfer.last_byte = Clock::now();
  transfer.got_byte = true;
  return size;
}

/// libcurl sends again by itself what failed on a connection it had kept. A request that costs
/// money is sent once; whether to repeat it is the owner's to say.
int on_send(void* self, char*, char*, int, int) {
  return ++static_cast<Transfer*>(self)->sends > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

std::string_view trim(std::string_view text) {
  const auto from = text.find_first_not_of(" \t\r\n");
  if (from == text.npos) return {};
  return text.substr(from, text.find_last_not_of(" \t\r\n") - from + 1);
}

std::size_t on_header(char* data, std::size_t, std::size_t size, void* self) {
  auto& transfer = *static_cast<Transfer*>(self);
  transfer.header_bytes += size;
  if (transfer.header_bytes > kMaxHeaderBytes) {
    transfer.too_large = true;
    return 0;
  }
  const std::string_view line(data, size);
  const std::size_t colon = line.find(':');
  if (colon == line.npos) return size;
  HttpResponse& out = transfer.response;
  const std::array<std::pair<std::string_view, std::string*>, 8> wanted{{
      {"content-type", &out.content_type},
      {"location", &out.location},
      {"retry-after", &out.retry_after},
      {"date", &out.date},
      {"x-ratelimit-reset-requests", &out.reset_requests},
      {"x-ratelimit-reset-tokens", &out.reset_tokens},
      {"x-ratelimit-remaining-requests", &out.remaining_requests},
      {"x-ratelimit-remaining-tokens", &out.remaining_tokens},
  }};
  for (const auto& [name, place] : wanted) {
    if (name.size() == colon && ::strncasecmp(line.data(), name.data(), colon) == 0)
      *place = trim(line.substr(colon + 1));
  }
  return size;
}

Failure failure_of(CURLcode code, const Transfer& transfer) {
  if (transfer.too_large) return Failure::kTooLarge;
  if (transfer.idle) return Failure::kTimeout;
  switch (code) {
    case CURLE_OK:
      return Failure::kNone;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
      return Failure::kConnect;
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
      return Failure::kTls;
    case CURLE_OPERATION_TIMEDOUT:
      return Failure::kTimeout;
    case CURLE_ABORTED_BY_CALLBACK:  // on_send
    case CURLE_GOT_NOTHING:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
      return Failure::kReset;
    default:
      return Failure::kOther;
  }
}

template <typename T>
void set(CURL* easy, CURLoption option, T value) {
  if (curl_easy_setopt(easy, option, value) != CURLE_OK)
    fail(ErrorKind::kInternal, "http", "libcurl refused an option");
}

bool is_loopback(const std::string& origin) {
  return origin.find("://127.") != origin.npos || origin.find("://localhost:") != origin.npos ||
         origin.find("://[::1]") != origin.npos;
}

void add_header(Transfer& transfer, const std::string& line) {
  curl_slist* longer = curl_slist_append(transfer.headers, line.c_str());
  if (longer == nullptr) throw std::bad_alloc();
  transfer.headers = longer;
}

void set_safety(CURL* easy, const HttpOptions& options, const HttpRequest& request) {
  set(easy, CURLOPT_NOSIGNAL, 1L);
  set(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  set(easy, CURLOPT_FOLLOWLOCATION, 0L);
  set(easy, CURLOPT_SSL_VERIFYPEER, 1L);
  set(easy, CURLOPT_SSL_VERIFYHOST, 2L);
  set(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  set(easy, CURLOPT_TCP_KEEPALIVE, 1L);
  set(easy, CURLOPT_ACCEPT_ENCODING, "gzip, deflate");
  set(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options.connect_timeout * 1000));
  set(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.timeout * 1000));
  if (!options.ca_file.empty()) set(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (is_loopback(url_origin(request.url))) set(easy, CURLOPT_PROXY, "");
}

void set_up(Transfer& transfer, const HttpOptions& options) {
  CURL* easy = transfer.easy;
  const HttpRequest& request = transfer.request;
  set_safety(easy, options, request);
  set(easy, CURLOPT_URL, request.url.c_str());
  set(easy, CURLOPT_USERAGENT, "lancet");
  set(easy, CURLOPT_ERRORBUFFER, transfer.error.data());
  set(easy, CURLOPT_WRITEFUNCTION, &on_body);
  set(easy, CURLOPT_WRITEDATA, &transfer);
  set(easy, CURLOPT_HEADERFUNCTION, &on_header);
  set(easy, CURLOPT_HEADERDATA, &transfer);
  set(easy, CURLOPT_PREREQFUNCTION, &on_send);
  set(easy, CURLOPT_PREREQDATA, &transfer);
  set(easy, CURLOPT_PRIVATE, &transfer);
  if (!request.secret.empty()) add_header(transfer, "Authorization: Bearer " + request.secret);
  if (!request.body.empty()) {
    add_header(transfer, "Content-Type: application/json");
    add_header(transfer, "Expect:");  // no waiting for "100 Continue"
    set(easy, CURLOPT_POST, 1L);
    set(easy, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(easy, CURLOPT_POSTFIELDS, request.body.c_str());
  }
  set(easy, CURLOPT_HTTPHEADER, transfer.headers);
}

}  // namespace

struct HttpPool::State {
  HttpOptions options;
  CURLM* multi = nullptr;
  std::vector<std::unique_ptr<Transfer>> active;
  std::vector<CURL*> spare;  ///< easy handles to use again
  Clock::time_point last_check = Clock::now();

  void release(Transfer& transfer) {
    curl_multi_remove_handle(multi, transfer.easy);
    curl_slist_free_all(transfer.headers);
    curl_easy_reset(transfer.easy);
    spare.push_back(transfer.easy);
  }

  /// Takes the transfer out of `active` and tells its owner.
  void finish(Transfer* transfer, CURLcode code) {
    const auto found = std::find_if(active.begin(), active.end(),
                                    [&](const auto& each) { return each.get() == transfer; });
    const std::unique_ptr<Transfer> own = std::move(*found);
    *found = std::move(active.back());
    active.pop_back();
    HttpResponse& out = own->response;
    out.failure = failure_of(code, *own);
    if (code == CURLE_ABORTED_BY_CALLBACK)
      out.message = "the connection was closed before an answer";
    else if (out.failure != Failure::kNone)
      out.message = own->idle        ? "no byte for the idle timeout"
                    : own->too_large ? "the response is larger than allowed"
                    : own->error[0]  ? own->error.data()
                                     : curl_easy_strerror(code);
    curl_easy_getinfo(own->easy, CURLINFO_RESPONSE_CODE, &out.status);
    curl_easy_getinfo(own->easy, CURLINFO_TOTAL_TIME, &out.seconds);
    release(*own);
    own->done(std::move(out));
  }

  void end_idle() {
    const auto now = Clock::now();
    if (now - last_check < kIdleCheck) return;
    last_check = now;
    std::vector<Transfer*> idle;
    for (const auto& each : active) {
      const std::chrono::duration<double> silence = now - each->last_byte;
      if (each->got_byte && silence.count() > each->request.idle_timeout)
        idle.push_back(each.get());
    }
    for (Transfer* each : idle) {
      each->idle = true;
      finish(each, CURLE_OPERATION_TIMEDOUT);
    }
  }
};

HttpPool::HttpPool(HttpOptions options) : state_(std::make_unique<State>()) {
  init_curl();
  state_->options = std::move(options);
  state_->multi = curl_multi_init();
  if (state_->multi == nullptr) throw std::bad_alloc();
  curl_multi_setopt(state_->multi, CURLMOPT_MAXCONNECTS, state_->options.connections);
}

HttpPool::~HttpPool() {
  for (const auto& each : state_->active) state_->release(*each);
  state_->active.clear();
  for (CURL* easy : state_->spare) curl_easy_cleanup(easy);
  curl_multi_cleanup(state_->multi);
}

void HttpPool::start(HttpRequest request, Done done) {
  auto transfer = std::make_unique<Transfer>();
  if (state_->spare.empty()) {
    transfer->easy = curl_easy_init();
    if (transfer->easy == nullptr) throw std::bad_alloc();
  } else {
    transfer->easy = state_->spare.back();
    state_->spare.pop_back();
  }
  transfer->request = std::move(request);
  transfer->done = std::move(done);
  transfer->last_byte = Clock::now();
  set_up(*transfer, state_->options);
  if (curl_multi_add_handle(state_->multi, transfer->easy) != CURLM_OK)
    fail(ErrorKind::kInternal, "http", "libcurl refused a request");
  state_->active.push_back(std::move(transfer));
}

void HttpPool::pump(std::chrono::milliseconds wait) {
  int running = 0;
  curl_multi_perform(state_->multi, &running);
  int left = 0;
  const auto drain = [&] {
    while (const CURLMsg* message = curl_multi_info_read(state_->multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      Transfer* transfer = nullptr;
      curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
      state_->finish(transfer, message->data.result);
    }
  };
  const std::size_t before = state_->active.size();
  drain();
  state_->end_idle();
  if (state_->active.size() < before) return;  // the caller may have more to send
  curl_multi_poll(state_->multi, nullptr, 0, static_cast<int>(wait.count()), nullptr);
}

std::size_t HttpPool::active() const noexcept { return state_->active.size(); }

std::string url_origin(const std::string& url) {
  const std::unique_ptr<CURLU, decltype(&curl_url_cleanup)> handle(curl_url(), &curl_url_cleanup);
  if (!handle || curl_url_set(handle.get(), CURLUPART_URL, url.c_str(), 0) != CURLUE_OK) return {};
  const auto part = [&handle](CURLUPart which, unsigned flags) {
    char* text = nullptr;
    if (curl_url_get(handle.get(), which, &text, flags) != CURLUE_OK) return std::string();
    std::string out(text);
    curl_free(text);
    return out;
  };
  const std::string scheme = part(CURLUPART_SCHEME, 0);
  if ((scheme != "http" && scheme != "https") || !part(CURLUPART_USER, 0).empty() ||
      !part(CURLUPART_PASSWORD, 0).empty() || !part(CURLUPART_FRAGMENT, 0).empty())
    return {};
  return scheme + "://" + part(CURLUPART_HOST, 0) + ":" + part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

}  // namespace lancet
