/**
 * The texts of what all pages share besides the connection: the way between them, and the login.
 */

/** @type {Record<string, string>} */
export const en = {
  "nav.label": "Pages",
  "nav.demands": "Negotiations",
  "nav.workbench": "Workbench",
  "nav.tools": "Tools",
  "nav.tasks": "Tasks",
  "nav.studio": "Studio",

  "login.title": "Log in",
  "login.detail": "This server asks who you are. Its administrator has a token for you.",
  "login.expired": "Your login has ended. Log in again; the page stays as it is.",
  "login.token": "Token",
  "login.button": "Log in",
  "login.sending": "Logging in …",
  "login.blank": "Enter your token first.",
  "login.refused": "The server does not know this token.",
  "login.throttled": "Too many attempts. Wait a minute, then try again.",
  "login.failed": "The login failed: {message}",

  "account.open": "Logged in as {name}",
  "account.title": "Your login",
  "account.name": "Name",
  "account.until": "Until",
  "account.read": "May read",
  "account.append": "May write to",
  "account.nothing": "nothing",
  "account.close": "Close",
  "account.logout": "Log out",
  "account.logout.failed": "You are still logged in: {message}",
};

/** @type {Record<string, string>} */
export const zh = {
  "nav.label": "页面",
  "nav.demands": "协商",
  "nav.workbench": "坐席工作台",
  "nav.tools": "工具",
  "nav.tasks": "任务",
  "nav.studio": "创作",

  "login.title": "登录",
  "login.detail": "此服务器需要确认您的身份。请向管理员索取令牌。",
  "login.expired": "登录已失效。请重新登录，页面内容会保留。",
  "login.token": "令牌",
  "login.button": "登录",
  "login.sending": "正在登录……",
  "login.blank": "请先输入令牌。",
  "login.refused": "服务器不认识这个令牌。",
  "login.throttled": "尝试次数过多，请一分钟后再试。",
  "login.failed": "登录失败：{message}",

  "account.open": "已登录为 {name}",
  "account.title": "您的登录",
  "account.name": "名称",
  "account.until": "有效期至",
  "account.read": "可读取",
  "account.append": "可写入",
  "account.nothing": "无",
  "account.close": "关闭",
  "account.logout": "退出登录",
  "account.logout.failed": "仍处于登录状态：{message}",
};
