// Third-party copies over HTTP: from and to https:// alone, for whom the path here is open. XRootD's own handler does the
// work, but gives `Source` and `Destination` to libcurl as they are (file:///…, gopher://…), and asks the source of a pull
// before it looks at any right. A plug-in for `http.exthandler` around that handler; written by Farmlet.

#include <cctype>
#include <cerrno>
#include <cstring>
#include <dlfcn.h>
#include <memory>
#include <string>
#include <strings.h>

#include <curl/curl.h>

#include "XrdHttp/XrdHttpExtHandler.hh"
#include "XrdOuc/XrdOucEnv.hh"
#include "XrdOuc/XrdOucErrInfo.hh"
#include "XrdSfs/XrdSfsInterface.hh"
#include "XrdSys/XrdSysError.hh"
#include "XrdVersion.hh"

// Stands before libcurl's own: no other protocol by any way, redirects included. Its name is what the handler calls.
extern "C" __attribute__((visibility("default"))) CURL *curl_easy_init() {
    static void *library = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    static auto init = library ? reinterpret_cast<CURL *(*)()>(dlsym(library, "curl_easy_init")) : nullptr;
    static auto set = library ? reinterpret_cast<CURLcode (*)(CURL *, CURLoption, ...)>(dlsym(library, "curl_easy_setopt")) : nullptr;
    CURL *made = init && set ? init() : nullptr;
    if (!made || set(made, CURLOPT_PROTOCOLS_STR, "https") || set(made, CURLOPT_REDIR_PROTOCOLS_STR, "https")) return nullptr;
    return made;
}

namespace {

// As it stands in a URL.
std::string quote(const std::string &text) {
    static const char digits[] = "0123456789ABCDEF";
    std::string quoted;
    for (unsigned char letter : text) {
        if (isalnum(letter) || strchr("-._~", letter)) quoted += static_cast<char>(letter);
        else quoted += {'%', digits[letter >> 4], digits[letter & 15]};
    }
    return quoted;
}

class Copy : public XrdHttpExtHandler {
public:
    Copy(XrdHttpExtHandler *handler, XrdSfsFileSystem *files) : handler_(handler), files_(files) {}

    bool MatchesPath(const char *verb, const char *path) override { return handler_->MatchesPath(verb, path); }

    int Init(const char *config) override { return handler_->Init(config); }

    int ProcessReq(XrdHttpExtReq &request) override {
        if (request.verb != "COPY") return handler_->ProcessReq(request);
        for (const auto &[name, value] : request.headers) {
            bool source = !strcasecmp(name.c_str(), "Source"), target = !strcasecmp(name.c_str(), "Destination");
            if ((source || target) && value.rfind("https://", 0) && value.rfind("davs://", 0))
                return refuse(request, 400, "a copy goes from and to https:// only");
        }
        XrdOucErrInfo error("transfer");
        if (!may_look(request, error)) {
            bool forbidden = error.getErrInfo() == EACCES || error.getErrInfo() == EPERM;
            return refuse(request, forbidden ? 403 : 500, error.getErrText());
        }
        return handler_->ProcessReq(request);
    }

private:
    std::unique_ptr<XrdHttpExtHandler> handler_;
    XrdSfsFileSystem *files_;

    // Whether the bearer may see whether the path is there, as all may who may read or write it. What a copy itself needs
    // is asked by the handler.
    bool may_look(XrdHttpExtReq &request, XrdOucErrInfo &error) {
        std::string path = request.resource.substr(0, request.resource.find('?')), given = "authz=" + quote(find_bearer(request));
        XrdSfsFileExistence there;
        return files_->exists(path.c_str(), there, error, &request.GetSecEntity(), given.c_str()) == SFS_OK;
    }

    // What the request shows: its header, or else `authz` of its query, which arrives decoded.
    static std::string find_bearer(const XrdHttpExtReq &request) {
        std::string query;
        for (const auto &[name, value] : request.headers) {
            if (!strcasecmp(name.c_str(), "Authorization")) return value;
            if (name == "xrd-http-query") query = "&" + value;
        }
        size_t start = query.find("&authz=");
        if (start == std::string::npos) return "";
        start += strlen("&authz=");
        return query.substr(start, query.find('&', start) - start);
    }

    static int refuse(XrdHttpExtReq &request, int status, const char *reason) {
        return request.SendSimpleResp(status, nullptr, nullptr, reason, 0);
    }
};

// Makes our curl_easy_init the one that is found by whatever is loaded from now on; false if another one was there before.
bool stand_before() {
    Dl_info own, found;
    if (!dladdr(reinterpret_cast<void *>(&stand_before), &own)) return false;
    if (!dlopen(own.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD)) return false;
    void *init = dlsym(RTLD_DEFAULT, "curl_easy_init");
    return init && dladdr(init, &found) && found.dli_fbase == own.dli_fbase;
}

}  // namespace

extern "C" XrdHttpExtHandler *XrdHttpGetExtHandler(XrdSysError *log, const char *config, const char *words, XrdOucEnv *around) {
    if (!stand_before()) {
        log->Emsg("transfer", "libcurl was there before this plug-in, which must stand before it");
        return nullptr;
    }
    auto *files = static_cast<XrdSfsFileSystem *>(around->GetPtr("XrdSfsFileSystem*"));
    std::string name = "libXrdHttpTPC-" + std::to_string(XrdMajorVNUM(XrdVNUMBER)) + ".so";
    void *library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
    using Maker = XrdHttpExtHandler *(*)(XrdSysError *, const char *, const char *, XrdOucEnv *);
    auto make = library ? reinterpret_cast<Maker>(dlsym(library, "XrdHttpGetExtHandler")) : nullptr;
    XrdHttpExtHandler *handler = make && files ? make(log, config, words, around) : nullptr;
    if (!handler) log->Emsg("transfer", "no handler for third-party copies:", library ? "it does not start" : dlerror());
    return handler ? new Copy(handler, files) : nullptr;
}

XrdVERSIONINFO(XrdHttpGetExtHandler, farmlet);
