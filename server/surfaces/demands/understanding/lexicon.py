"""The words that the local reader knows: capability concepts in Chinese and English, and the words around them.

This is data; `reader.py` gives it meaning. Everything is in lower case and simplified Chinese. English
terms are singular (plurals are derived) and verbs are in their base form (regular forms are derived)."""

from typing import NamedTuple


class Concept(NamedTuple):
    """A capability and how people say it. Terms in one string are separated by `|`."""

    zh: str
    en: str
    verbs: str = ""


# The canonical name is the key; it is what events, reasons and the search index carry.
CONCEPTS: dict[str, Concept] = {
    "venue": Concept(
        "场地|场馆|会场|会议室|会议厅|会议中心|宴会厅|展厅|多功能厅|礼堂|活动室|活动空间|办公场地|共享空间|场所|包厢|报告厅",
        "venue|meeting room|conference room|conference hall|conference center|conference centre"
        "|banquet hall|function room|event space|event location|meeting space|coworking space|auditorium"
        "|ballroom|exhibition hall|lecture hall|party room",
    ),
    "technical_talk": Concept(
        "技术分享|技术分享嘉宾|技术讲座|技术演讲|技术讲师|技术嘉宾|技术报告|技术交流|技术布道|技术专家",
        "technical talk|tech talk|technology talk|technical speaker|tech speaker|technical presentation"
        "|technical sharing|tech sharing|technology sharing|technical lecture|technical expert"
        "|lightning talk|developer advocate",
    ),
    "speaker": Concept(
        "演讲嘉宾|演讲者|演讲人|讲者|主讲人|主讲嘉宾|分享嘉宾|嘉宾|讲座|演讲|讲师|分享人|宣讲",
        "speaker|guest speaker|keynote speaker|keynote|presenter|lecturer|lecture|panelist|panellist|public speaking",
    ),
    "event_planning": Concept(
        "活动策划|策划|策划师|策划活动|会务|婚庆|婚礼策划|活动组织|活动执行|活动统筹",
        "event planning|event planner|event organiser|event organizer|event management|event manager"
        "|event coordination|event coordinator|party planner|party planning|wedding planner"
        "|wedding planning|conference organiser|conference organizer|conference planning|plan an event"
        "|plan a party|plan a wedding|plan our wedding|plan my wedding|plan a conference|plan a birthday"
        "|plan a birthday party|plan a meetup",
    ),
    "photography": Concept(
        "摄影|摄影师|拍照|照相|跟拍|照片|拍摄|写真|婚纱照|证件照|航拍",
        "photography|photographer|photo|photo shoot|photoshoot|photo session|headshot|drone photography",
        "photograph",
    ),
    "videography": Concept(
        "摄像|摄像师|录像|视频|视频拍摄|视频制作|视频剪辑|剪辑|剪辑师|短视频|拍视频|宣传片|微电影|影片|录制",
        "videography|videographer|video|video production|video editing|video editor|video recording"
        "|video shoot|filming|film crew|cinematographer|camera crew|music video|promo video",
    ),
    "livestreaming": Concept(
        "直播|网络直播|线上直播|视频直播|推流", "live stream|live streaming|live broadcast|webcast|webcasting", "livestream"
    ),
    "catering": Concept(
        "餐饮|茶歇|自助餐|外烩|宴席|酒席|午餐|晚餐|早餐|午饭|晚饭|盒饭|便当|团餐|送餐|厨师|点心|餐食|饮食|用餐|酒水|烧烤|晚宴",
        "catering|caterer|buffet|food|lunch|dinner|breakfast|refreshment|snack|meal|chef|cook|tea break"
        "|coffee break|barbecue|bbq|pizza|canape|finger food",
        "cater",
    ),
    "baking": Concept(
        "蛋糕|烘焙|烘焙师|甜品|面包|西点|糕点|甜点", "cake|bakery|baker|pastry|dessert|bread|cookie|cupcake", "bake"
    ),
    "host_mc": Concept(
        "主持人|主持|司仪|婚礼主持|活动主持",
        "emcee|mc|master of ceremonies|compere|event host|a host|the host|moderator|toastmaster|facilitator",
    ),
    "translation": Concept(
        "翻译|笔译|译员|译者|翻译员|文件翻译|本地化|字幕",
        "translation|translator|localisation|localization|subtitle|subtitling",
        "translate",
    ),
    "interpretation": Concept(
        "口译|口译员|同传|同声传译|交传|传译|手语",
        "interpreter|interpreting|interpretation|simultaneous interpretation|consecutive interpretation|sign language",
    ),
    "design": Concept(
        "设计|设计师|平面设计|海报|海报设计|标志设计|视觉设计|插画|美工|排版|logo",
        "design|designer|graphic design|graphic designer|logo|poster|illustration|illustrator|branding|ui design|ux design",
        "design",
    ),
    "printing": Concept(
        "打印|印刷|复印|喷绘|名片|宣传册|易拉宝|展架|条幅|横幅",
        "print|print shop|flyer|leaflet|brochure|business card|banner",
        "print",
    ),
    "prototyping": Concept(
        "3d打印|三维打印|快速成型|打样|手板", "3d print|3d printing|3d printer|3d printed|prototyping|prototype"
    ),
    "decoration": Concept(
        "布置|装饰|场地布置|会场布置|会场装饰|气球|布景|舞台搭建|展台搭建|搭建|美陈|背景板",
        "decoration|decorator|decor|balloon|stage building|booth construction|backdrop",
        "decorate",
    ),
    "floristry": Concept(
        "鲜花|花艺|花艺师|花束|插花|花店|捧花|花篮",
        "florist|floristry|flower|bouquet|flower arrangement|floral arrangement|floral design",
    ),
    "equipment_rental": Concept(
        "租赁|设备租赁|桌椅|桌椅租赁|帐篷|设备出租",
        "equipment rental|equipment hire|furniture rental|tent rental|tent|tables and chairs|chairs and tables|marquee",
    ),
    "music": Concept(
        "音乐|乐队|歌手|演奏|乐手|驻唱|伴奏|弦乐|乐团|音乐人|dj",
        "band|music|musician|live music|dj|singer|pianist|violinist|guitarist|string quartet|orchestra|choir",
    ),
    "performance": Concept(
        "表演|演员|舞蹈|舞者|魔术|魔术师|小丑|杂技|相声|脱口秀",
        "performer|performance|dancer|magician|magic show|clown|actor|actress|comedian|acrobat",
    ),
    "sound_and_light": Concept(
        "音响|灯光|灯光音响|音响灯光|音响设备|音响师|灯光师|舞台灯光|扩音|话筒|麦克风|调音|调音师|投影"
        "|投影仪|投影机|led屏|大屏",
        "sound system|sound engineer|sound technician|sound and light|sound and lighting|lighting"
        "|stage lighting|pa system|audio equipment|microphone|projector|av equipment|audiovisual"
        "|loudspeaker|amplifier|led screen",
    ),
    "transport": Concept(
        "交通|接送|包车|用车|租车|司机|大巴|班车|接机|送机|运输|货运|物流|配送|快递|车辆|代驾",
        "transport|transportation|driver|shuttle|shuttle bus|coach bus|bus|minibus|taxi|chauffeur|car"
        "|car rental|airport transfer|airport pickup|delivery|courier|logistics|freight|shipping",
    ),
    "moving": Concept(
        "搬家|搬家公司|搬运|搬运工|搬迁",
        "mover|moving company|moving van|moving truck|moving help|moving house|move house|help me move"
        "|move our office|move my office|office move|relocation|removalist",
        "relocate",
    ),
    "accommodation": Concept(
        "住宿|酒店|宾馆|民宿|客房|订房|旅馆|旅店|青旅",
        "accommodation|hotel|hotel room|hostel|guesthouse|guest house|guest room|lodging|homestay|bed and breakfast|airbnb",
    ),
    "travel": Concept(
        "导游|旅游|旅行|地陪|行程规划|签证|旅行社",
        "tour guide|guided tour|travel agency|travel agent|travel planning|sightseeing|itinerary|visa",
    ),
    "legal": Concept(
        "法律|律师|律师事务所|法务|合同审查|审合同|法律咨询|诉讼|公证|知识产权|专利|商标",
        "lawyer|attorney|legal|legal advice|legal counsel|solicitor|litigation|contract review|patent"
        "|trademark|notary|law firm|paralegal",
    ),
    "accounting": Concept(
        "会计|会计师|记账|记帐|代账|报税|税务|审计|财务|做账|出纳|财税",
        "accountant|accounting|bookkeeping|bookkeeper|tax|tax return|tax filing|audit|auditor|payroll|cpa",
    ),
    "insurance": Concept(
        "保险|投保|理赔|保险经纪|车险|意外险|医疗保险|旅游保险",
        "insurance|insurer|insurance broker|car insurance|travel insurance|health insurance|medical insurance",
    ),
    "investment": Concept(
        "投资|投资人|融资|天使投资|风投|理财|基金|贷款|赞助|赞助商",
        "investment|investor|venture capital|vc|funding|angel investor|financing|fundraising"
        "|wealth management|financial adviser|financial advisor|loan|sponsor|sponsorship",
        "invest",
    ),
    "marketing": Concept(
        "营销|推广|市场营销|市场推广|宣传|广告|公关|品牌推广|新媒体|种草|seo",
        "marketing|marketer|advertising|advertisement|advertising campaign|promotion|public relations|pr"
        "|social media|seo|publicity",
    ),
    "writing": Concept(
        "文案|写作|撰稿|校对|编辑|代笔|写手|稿件",
        "writer|copywriter|copywriting|proofreading|proofreader|editor|ghostwriter|content writing|editing",
        "proofread",
    ),
    "web_development": Concept(
        "网站|网站开发|网页|前端|后端|小程序|程序员|软件开发|软件工程师|app开发|系统开发|建站|编程|码农",
        "website|web site|web development|web developer|web design|web designer|web app|web page|frontend"
        "|front end|backend|back end|full stack developer|software development|software developer"
        "|software engineer|programmer|programming|mobile app|app development|app developer|mini program"
        "|landing page|coder",
    ),
    "it_support": Concept(
        "网络安全|信息安全|系统运维|运维|服务器|网络维护|云服务|技术支持",
        "it support|tech support|technical support|cybersecurity|cyber security|network security"
        "|information security|penetration test|penetration testing|system administrator|sysadmin|devops"
        "|network setup|wifi setup|server maintenance",
    ),
    "data_analysis": Concept(
        "数据分析|数据分析师|数据挖掘|统计分析|数据可视化|数据科学|报表|机器学习|分析数据",
        "data analysis|data analyst|data analytics|analytics|data science|data scientist|data mining"
        "|data visualisation|data visualization|dashboard|statistics|statistician|machine learning"
        "|business intelligence|analyse data|analyze data|analyse our data|analyze our data"
        "|analyse my data|analyze my data",
    ),
    "tutoring": Concept(
        "家教|辅导|补习|教学|教师|培训|培训师|课程|授课|陪练|英语课|编程课|家教老师|英语老师|数学老师|钢琴老师|语文老师",
        "tutor|tutoring|teacher|lesson|private lesson|homework help|training|training course|instructor|course",
        "tutor|teach",
    ),
    "fitness": Concept(
        "健身|健身教练|瑜伽|瑜伽老师|瑜伽课|私教|教练|普拉提|体能",
        "fitness|fitness coach|fitness class|personal trainer|yoga|yoga instructor|yoga teacher"
        "|yoga class|pilates|gym|workout|sports coach",
    ),
    "medical": Concept(
        "医疗|医生|急救|护士|医护|救护|救护车|体检|护理|医务|诊所|康复",
        "first aid|first aider|doctor|nurse|medic|medical|medical staff|paramedic|ambulance|physician"
        "|health check|physiotherapist|physiotherapy|physical therapy|physical therapist",
    ),
    "security": Concept(
        "安保|保安|保镖|安检|巡逻|门卫|安防",
        "security|security guard|security staff|security check|bodyguard|bouncer|crowd control",
    ),
    "cleaning": Concept(
        "保洁|清洁|清洁工|打扫|清扫|家政|擦窗|洗衣|钟点工",
        "cleaning|cleaner|housekeeping|housekeeper|janitor|laundry|clean my house|clean our house"
        "|clean the house|clean my office|clean our office|clean the office",
    ),
    "repair": Concept(
        "维修|水管|漏水|修理|修电脑|修手机|电脑维修|水电工|水管工|电工|疏通|家电维修|开锁|抢修",
        "repairman|plumber|plumbing|electrician|handyman|mechanic|locksmith|maintenance|car repair"
        "|phone repair|computer repair|fix my computer|fix my phone|fix my laptop|fix my car|fix my roof"
        "|fix the roof",
        "repair",
    ),
    "renovation": Concept(
        "装修|室内设计|室内设计师|翻新|粉刷|木工|木匠|油漆",
        "renovation|interior design|interior designer|remodeling|remodelling|carpenter|carpentry|house painter",
        "renovate",
    ),
    "gardening": Concept(
        "园艺|园艺师|园林|绿化|草坪|花园|园丁|绿植",
        "gardening|gardener|landscaping|lawn care|lawn mowing|garden|garden maintenance|tree pruning",
    ),
    "makeup": Concept(
        "化妆|化妆师|造型|造型师|美容|美容师|美发|美甲|理发|跟妆|新娘妆",
        "makeup|makeup artist|make up artist|hairdresser|hair stylist|hairstylist|stylist|barber|manicure|beautician",
    ),
    "childcare": Concept(
        "托管|保姆|育儿|月嫂|托儿|带娃|带孩子|看孩子|照看孩子|儿童看护|育婴",
        "childcare|child care|babysitter|babysitting|nanny|daycare|day care|baby sitter",
        "babysit",
    ),
    "elder_care": Concept("养老|护工|陪护|照顾老人|老人看护|老人护理", "elder care|elderly care|senior care|caregiver|carer"),
    "pet_care": Concept(
        "宠物|遛狗|宠物寄养|寄养|兽医|宠物美容|喂猫|宠物医生|宠物摄影",
        "pet|pet care|pet sitter|pet sitting|dog walker|dog walking|dog sitter|cat sitter|vet"
        "|veterinarian|pet grooming|dog grooming|pet photography|pet photographer",
    ),
    "recruiting": Concept(
        "招聘|猎头|招人|人力资源|招募|人才",
        "recruiting|recruiter|recruitment|hiring|headhunter|headhunting|human resources|staffing|talent acquisition",
        "recruit",
    ),
    "event_staff": Concept(
        "志愿者|义工|礼仪|礼仪小姐|现场人员|签到|签到员",
        "volunteer|usher|event staff|temp staff|receptionist|registration desk|check in staff",
    ),
    "counselling": Concept(
        "心理咨询|心理咨询师|心理辅导|心理医生|心理|情绪疏导|婚姻咨询",
        "counselling|counseling|counsellor|counselor|psychologist|psychology|psychotherapist"
        "|psychotherapy|therapist|therapy|mental health",
    ),
    "real_estate": Concept(
        "租房|房产|房产中介|买房|卖房|办公室出租|看房",
        "real estate|realtor|estate agent|property agent|apartment hunting|house hunting|office lease",
    ),
}

# Longer expressions in which a term means something else; the longest match wins, so these hide it.
NOT_TERMS = (
    "保险柜|保险丝|保险箱|视频会议|视频电话|音乐节门票|身份证照片|主持词|数据线|会计学院|设计院校"
    "|交通规则|法律系|心理准备|翻译软件|电影院|基金会|广告词|人才市场|服务器端|表演系|演员表|快递单号"
    "|bluetooth speaker|wireless speaker|smart speaker|native speaker|rubber band|security deposit"
    "|social security|video call|video conference|video game|video meeting|piece of cake|cookie policy"
    "|of course|golf course|main course|training data|device driver|printer driver|food for thought"
    "|legal age|tax free|car park|bus stop|bus station|bread and butter"
)

# Irregular past forms of the verbs above.
VERB_FORMS: dict[str, tuple[str, ...]] = {
    "teach": ("teaches", "teaching", "taught"),
    "babysit": ("babysits", "babysitting", "babysat"),
    "proofread": ("proofreads", "proofreading"),
}

# Characters of the terms and markers in this file, traditional to simplified.
TRADITIONAL = (
    "場场 館馆 會会 議议 廳厅 禮礼 動动 間间 辦办 報报 術术 講讲 師师 賓宾 專专 傳传 統统 攝摄 紗纱 證证"
    " 錄录 視视 頻频 輯辑 製制 編编 網网 絡络 線线 飲饮 燴烩 廚厨 點点 飯饭 當当 團团 麵面 麪面 劃划 執执"
    " 組组 織织 儀仪 譯译 筆笔 員员 聲声 聽听 語语 設设 計计 標标 誌志 畫画 圖图 覺觉 複复 噴喷 繪绘 橫横"
    " 條条 寶宝 裝装 飾饰 氣气 臺台 檯台 藝艺 籃篮 賃赁 備备 帳帐 樂乐 隊队 駐驻 絃弦 韻韵 響响 燈灯 調调"
    " 擴扩 話话 麥麦 風风 機机 車车 輛辆 駕驾 運运 輸输 貨货 遞递 遷迁 遊游 導导 簽签 規规 審审 詢询 諮咨"
    " 訟讼 訴诉 識识 產产 權权 稅税 務务 財财 賬账 險险 賠赔 經经 紀纪 醫医 療疗 資资 貸贷 贊赞 銷销 廣广"
    " 關关 體体 寫写 對对 頁页 軟软 開开 發发 後后 碼码 維维 護护 雲云 據据 習习 學学 輔辅 補补 課课 練练"
    " 診诊 復复 鏢镖 邏逻 衛卫 潔洁 掃扫 電电 腦脑 鎖锁 搶抢 園园 綠绿 髮发 髪发 妝妆 頭头 嬰婴 帶带 託托"
    " 兒儿 養养 寵宠 獸兽 餵喂 貓猫 獵猎 願愿 義义 現现 緒绪 係系 買买 賣卖 個个 們们 請请 幫帮 謝谢 麼么"
    " 嗎吗 還还 這这 沒没 無无 須须 參参 與与 為为 從从 應应 該该 認认 說说 過过 給给 煩烦 邊边 結结 慶庆"
    " 張张 雙双 兩两 萬万 幾几 時时 號号 歲岁 週周 處处 問问 題题 業业 費费 價价 錢钱 優优 質质 級级 長长"
    " 協协 評评 預预 訂订 確确 決决 準准 盤盘 樣样 國国 東东 節节 歡欢 尋寻 誰谁 夠够 單单 獨独 雖虽 卻却"
    " 讓让 將将 較较"
)

# Marks of a demand's grammar. Regular expressions over folded text; bounded, without nested repetition.

# Looks like a negation and is none.
NEUTRAL = (
    r"需不需要|要不要|用不用|不仅需要|不只需要|不得不|不仅仅|不仅|不光|不要紧",
    r"not only|no (?:problem|idea|doubt|later|more|less|fewer|matter|one|worries|rush|hurry|limit)",
    r"(?:have|has|had|there is|there are|there's|got) no|(?:can ?not|can't|couldn't|could not) (?:do|go"
    r"|work|live|happen)"
    r"(?: (?:it|this|that))? without",
)

# Everything after it, in its clause, is not wanted or already there.
NEGATIONS = (
    r"不(?:再|太|是)?(?:需要|需|用|要求|要|必|想要|想|找|请|含|包括|包含|考虑|安排)|无需|无须|没必要|没有必要"
    r"|用不着|用不上|别(?:找|请|给|安排|要)"
    r"|取消|除去|已经?有了?|已经?(?:找|订|定|预订|预定|安排|解决|确定|请)",
    r"(?:do|does|did|would|will)(?:n't| not|nt) (?:really |actually |currently )?(?:need|want|require"
    r"|include|like|book|hire)",
    r"(?:not|aren't|isn't) (?:need|want|require|looking for|interested in|including|include)",
    r"no longer (?:need|want|require)|no need (?:for|of|to)|already (?:have|has|got|had|found|booked|hired"
    r"|arranged)"
    r"|(?:have|has) already (?:got|found|booked|hired|arranged)|excluding|except(?: for)?|other than"
    r"|rather than|instead of"
    r"|skip|minus|cancel|without|neither|nor|no",
)

# What stands before it, in its clause, is not wanted or already there.
POST_NEGATIONS = (
    r"除外|免了|算了|不用了|就不要了|自己(?:来|解决|搞定|做|准备|安排|负责|带)|自行(?:解决|安排|准备)|自备"
    r"|自理",
    r"(?:(?:is|are|was|were)(?: not|n't)|not)(?: really)? (?:needed|required|necessary|wanted|included)"
    r"|no longer (?:needed|required|wanted)"
    r"|unnecessary|(?:is |are |have been |has been )?already (?:booked|sorted|arranged|done|covered"
    r"|taken care of|in place)"
    r"|already(?= ?(?:[,.;!?\n]|$|but |and ))",
)

# The speaker wants what follows, whatever was negated before.
REQUESTS = (
    r"还?需要|想要|想找|还要|也要|就要|只要|只需|要找|要有|寻找|寻求|急需|急求|找|招|预订|求",
    r"need|needs|want|wants|require|requires|looking for|look for|find|seek|seeking|would like|book|hire|get",
)

# Ends what a negation covers.
CONTRASTS = (r"但是|但|不过|然而|可是|而是|另外|此外|除此之外|其余", r"but|however|only|just|though|although|yet|instead")

OR_WORDS = (r"或者|或|还是", r"or|nor")
AND_WORDS = (r"和|与|及|以及|并|跟", r"and|plus")

# Politeness and filler before and after what is asked (regular expressions, anchored by `reader.py`).
LEADING_FILLER = (
    r"你好|您好|大家好|嗨|哈喽|请问一下|请问|(?:我们|我|本人)(?:现在|这边|目前)?(?:想要|想|希望"
    r"|打算)(?=[请找要订有做办帮一])"
    r"|(?:能不能|可不可以|能否|可否|能|可以)请?(?:你|您)?(?:帮我们|帮我|帮忙)|请(?:你|您)(?:们)?"
    r"|请(?=[帮找给为推协])"
    r"|麻烦(?:你们|你|您)?|劳驾|拜托|(?:帮我们|帮我|帮忙)(?:一下)?|那个|嗯+|呃+|额+",
    r"(?:hi|hello|hey)(?: there| all| everyone| team| guys)?|dear (?:all|team|everyone|sir or madam)"
    r"|good (?:morning|afternoon|evening)"
    r"|please|pls|kindly|(?:can|could|would|will) (?:you|someone|anyone|anybody)(?: please"
    r"| kindly)?(?: help(?: me| us)?(?: to)?)?"
    r"|(?:i|we)(?: would|'d|'d| should)(?: really| very much)? (?:like|love)(?: to)?(?: ask you to)?"
    r"|(?:i|we) (?:want|wish|hope) to|(?:i'm|i am|we're|we are|i was) (?:just )?wondering (?:if"
    r"|whether)(?: you| someone| anyone)"
    r"(?: can| could)?|help (?:me|us)(?: to)?|um+|uh+|well|so|ok|okay",
)
TRAILING_FILLER = (
    r"非常感谢|谢谢(?:大家|你们|你|您|啦|了)?|多谢(?:了)?|感谢|拜托(?:了|大家)?|辛苦(?:了)?",
    r"thank you(?: very much| so much| in advance)?|thanks(?: a lot| in advance| so much| a million)?"
    r"|please|pls|cheers",
)

# Words that say how, when, where, for whom and how many, but never which trade: nobody is found by them.
_STOP_WORDS_EN = """
    a about above accept across actually add after afternoon again against agent agents ago ai all
    almost along already also although always am amazing america an and anniversary annual another any
    anybody anyone anything appreciate april are area around arrange as asap asia ask at attend
    attendee attendees august available away back bad based be because become been before begin
    beginning beijing being believe below berlin best better between big birthday birthdays both box
    bring budget build building business businesses but buy by call came can cannot capability capable
    care case celebration center centre ceremony certain change charge cheap check chengdu china
    chongqing choose christmas city client clients close come comfortable community companies company
    complete conference conferences consider contact cost could couple create current currently
    customer customers date day days deal dear december deliver demand did different do does doesnt
    doing done dont down downtown draft during each early easily east easy else end england enough etc
    europe evening event events ever every everybody everyone everything exactly example excellent
    experience experienced expert experts family far fast february festival few fill final find fine
    first fit five flexible following for four free friday friend friendly friends from full fun
    further get give go going good got graduation great group groups guangzhou guest guests had half
    hangzhou happen has have having he hello help helpful her here hi high him hire his hold holding
    holiday home hong hope hour hours house how however hundred i id idea if im important in include
    included including individual information inside interested into invite is issue it item its
    january job join july june just keep kind kindly know kong large last late later launch least leave
    left less let level like likely list little live ll local location london long look looking lot
    love low lunchtime made main make makes making manage many march match matter maximum may maybe me
    mean medium meet meeting meetings meetup meetups member members midnight might mind minute minutes
    moment monday money month months more morning most much must my name nanjing national nd near
    nearby necessary need needed needs never new next nice night no nobody none noon nor north not
    nothing november now number october of off offer office offline often ok okay on once one online
    only open opening or order organisation organise organised organising organization organize
    organized organizing other our out outside over own paris part participant participants parties
    party pay people per perfect person personal persons piece place plan planned planning plans please
    plus pm possible prefer preferably prepare price private probably problem product professional
    professionals program project projects provide provider provides providing public put quality
    question quick quickly quiet quite range rather rd re ready real really reason reasonable recommend
    regarding reliable request require required requirement requirements requires right room run
    running same saturday say search second see seek seeking seem seems seminar send september serious
    serve service services set setup seven several shall shanghai she shenzhen short should show side
    similar simple since singapore site six size skill skilled skills small so social solution
    solutions some somebody someone something somewhere soon sort south space special specialist
    specialists specific st start started starting startup state stay still stop street such suggest
    suitable summer sunday supply support sure suzhou system taipei take taken talk task team teams
    tell ten test th than thank thanks that the their them themselves then there these they thing
    things think third this those thousand three through thursday tianjin time times to today together
    tokyo tomorrow tonight too top total touch towards town training trusted try tuesday turn two type
    under understand until up upcoming urgent us use used useful user using usual value various ve very
    via visit wait want wanted wants was watch way we wedding weddings wednesday week weekday weekend
    weekends weekly weeks well went were west what whatever when where whether which while who whole
    whom whose why will winter wish with within without wonderful wondering work worked worker workers
    working works workshop workshops world would wuhan year years yes yesterday yet york you young your
    yours zero
"""
STOP_WORDS_EN = frozenset(_STOP_WORDS_EN.split())

# The same in Chinese, removed longest first before two-character words are formed.
_STOP_WORDS_ZH = (
    "我们 你们 他们 她们 它们 咱们 自己 大家 本人 本公司 我司 公司 企业 单位 部门 团队 小组 组织 机构"
    " 朋友 客户 同事 家人 家里 孩子 老师 先生 女士 需要 需求 急需 必须 想要 想找 希望 打算 计划 准备 要求"
    " 寻找 寻求 找到 帮忙 帮我 帮助 麻烦 谢谢 感谢 请问 你好 您好 一个 一位 一名 一下 一些 一点"
    " 一场 一次 一份 一家 一起 一种 一套 一支 一组 一天 一定 一共 几个 几位 多个 多位 各种 各位 每个 每天"
    " 这个 那个 这些 那些 这里 那里 这样 那样 这次 哪里 哪个 什么 怎么 怎样 如何 为什么 多少 是否 可以"
    " 能够 能不能 可能 应该 或者 还是 以及 并且 而且 但是 不过 因为 所以 如果 虽然 然后 另外 此外 还有"
    " 还要 还需 包括 等等 之类 关于 对于 通过 根据 按照 提供 支持 服务 专业 资深 专家 人员 人士 人才 经验"
    " 丰富 优质 高级 普通 靠谱 可靠 便宜 免费 收费 预算 价格 费用 质量 时间 地点 地方 地址 位置 附近 周边"
    " 市区 城市 本地 当地 线上 线下 现场 今天 明天 后天 昨天 今晚 明晚 上午 中午 下午 晚上 早上 凌晨 周一"
    " 周二 周三 周四 周五 周六 周日 周末 星期 礼拜 工作日 本周 下周 上周 这周 本月 下个月 下月 月底 月初"
    " 年底 年初 今年 明年 去年 春天 夏天 秋天 冬天 节日 假期 期间 之前 之后 以前 以后 左右 以上 以下 目前"
    " 现在 最近 马上 尽快 活动 会议 大会 年会 聚会 派对 婚礼 生日 庆典 典礼 仪式 峰会 论坛 沙龙 晚会"
    " 发布会 研讨会 开业 举办 举行 召开 筹备 开展 参加 参与 进行 完成 安排 负责 制定 方案 项目 工作 任务"
    " 问题 事情 东西 内容 产品 业务 系统 平台 技术 开发 开发者 管理 运营 设备 资源 能力 功能 方面 相关"
    " 有关 合适 适合 不错 比较 非常 特别 最好 主要 重要 简单 快速 高效 全部 所有 其他 其它 任何 很多 许多"
    " 一般 大型 小型 中型 高端 创业 行业 人数 人参加 人次 有人 没有 已经 正在 可否 能否 有没有 解决 处理"
    " 联系 推荐 介绍 咨询 顾问 代理 容纳 超过 不超过 大约 大概 差不多 以内 才行 制作 定制 合作 交流 分享"
    " 学习 了解 知道 觉得 认为 喜欢 北京 上海 广州 深圳 杭州 成都 南京 武汉 苏州 天津 重庆 西安 长沙 厦门"
    " 青岛 大连 香港 台北 中国 全国 国内 国际"
)
STOP_WORDS_ZH = frozenset(_STOP_WORDS_ZH.split())

# Characters that carry grammar: no two-character word has one of GRAMMAR_ZH, or two of LIGHT_ZH.
GRAMMAR_ZH = frozenset("的了吗呢吧啊呀哦嗯是在我你您他她它们这那和与及或也都很就请个")
LIGHT_ZH = GRAMMAR_ZH | frozenset(
    "太更最想要有给把被让从向对于到等个帮找做来去说会能可还只又再并而但所其之以为无不"
    "没约第新大小多少求招位名一二三四五六七八九十两好完过得着人位"
)
